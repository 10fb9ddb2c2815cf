// Checkpoints: all runs of a suite, the trend over the training step, and two of them to compare.
import type { Checkpoints, Suites } from "../shell/answers";
import { pathWith, useAnswer } from "../shell/api";
import { checkpointOf, formatCount } from "../shell/format";
import { focusSearch, useKeys } from "../shell/keyboard";
import { Link } from "../shell/link";
import { Empty, ErrorLine, Problems, Waiting } from "../shell/notices";
import { changedQuery, changeState, goTo } from "../shell/query";
import { Choice, TextField } from "../shell/text_field";
import { Trend } from "../charts/trend";
import { filterRows, shownOf } from "./filters";
import { baselineOf, Headline } from "./headline";
import { LiveRows } from "./live";
import { Matrix } from "./matrix";

const VERDICTS = ["PASS", "FAIL", "INCONCLUSIVE", "INCOMPLETE"];
const ROWS_AT_FIRST = 200;
const LIVE_SECONDS = 5;
const QUIET_SECONDS = 60;

export function CheckpointsPage(props: { query: URLSearchParams }) {
  const { query } = props;
  const suites = useAnswer<Suites>("api/suites");
  const suite = query.get("suite") ?? suites.value?.suites[0]?.name ?? null;
  const answer = useAnswer<Checkpoints>(suite ? pathWith("api/checkpoints", { suite }) : null, (value) => (value.live.length ? LIVE_SECONDS : QUIET_SECONDS));
  const page = answer.value;
  const shown = shownOf(query);
  const rows = page ? filterRows(page.rows, shown) : [];
  const visible = query.get("rows") === "all" ? rows : rows.slice(0, ROWS_AT_FIRST);
  const gating = page?.metrics.filter((metric) => metric.gating) ?? [];
  const columns = query.get("metrics") === "all" ? (page?.metrics ?? []) : gating.length ? gating : (page?.metrics ?? []).slice(0, 3);
  const drawn = page?.metrics.find((metric) => metric.name === query.get("trend")) ?? columns[0];
  const trainingRuns = [...new Set((page?.rows ?? []).map((row) => row.training_run ?? ""))].sort();
  const baseline = baselineOf(page?.rows ?? []);
  const picked = query.getAll("pick").slice(0, 2);
  const at = Math.min(Number(query.get("at") ?? -1), visible.length - 1);

  const pick = (run: string) =>
    changeState({ pick: picked.includes(run) ? picked.filter((other) => other !== run) : [...picked, run].slice(-2) }, true);
  const move = (by: number) => {
    const next = Math.max(0, Math.min(visible.length - 1, at + by));
    changeState({ at: String(next) }, true);
    const row = visible[next];
    window.requestAnimationFrame(() => row && document.querySelector(`tr[data-run="${CSS.escape(row.run)}"]`)?.scrollIntoView({ block: "nearest" }));
  };
  const current = visible[at];
  // The older of the two stands on the left, as the baseline does.
  const pair = picked.map((run) => page?.rows.find((row) => row.run === run) ?? { run, created: null }).sort((a, b) => ((a.created ?? "") < (b.created ?? "") ? -1 : 1));
  const comparison = (name: string) => ({ page: name, left: pair[0]?.run, right: pair[1]?.run });
  useKeys([
    { keys: ["j", "ArrowDown"], does: "next checkpoint", run: () => move(1) },
    { keys: ["k", "ArrowUp"], does: "checkpoint before", run: () => move(-1) },
    { keys: ["Enter"], does: "open the checkpoint", run: () => current && goTo(changedQuery({ page: "run", run: current.run })) },
    { keys: ["e"], does: "its images", run: () => current && goTo(changedQuery({ page: "explorer", left: current.baseline_run, right: current.run })) },
    { keys: ["x"], does: "pick it, two can be compared", run: () => current && pick(current.run) },
    { keys: ["c"], does: "compare the two that are picked", run: () => pair.length === 2 && goTo(changedQuery(comparison("compare"))) },
    { keys: ["/"], does: "search", run: focusSearch },
  ]);

  if (suites.error) return <ErrorLine {...suites} error={suites.error} />;
  if (suites.value && !suites.value.suites.length) return <Empty>No run has been published yet. Trigger the DAG, and its verdict stands here.</Empty>;
  return (
    <>
      <h1 class="unseen">Checkpoints of {suite}</h1>
      <form class="filters" onSubmit={(event) => event.preventDefault()}>
        <Choice label="Suite" value={suite ?? ""} options={(suites.value?.suites ?? (suite ? [{ name: suite, runs: 0 }] : [])).map((each) => [each.name, each.runs ? `${each.name} (${each.runs})` : each.name])}
          change={(name) => goTo(changedQuery({ page: "checkpoints", suite: name }))} />
        {trainingRuns.length > 1 && <Choice label="Training run" value={shown.training} options={[["", "all"], ...trainingRuns.filter(Boolean).map((name): [string, string] => [name, name])]} change={(training) => changeState({ training, at: null })} />}
        <TextField label="Search" type="search" value={query.get("q") ?? ""} placeholder="name or reason" change={(q) => changeState({ q, at: null }, true)} />
        <fieldset class="chips">
          <legend class="unseen">Verdict</legend>
          {VERDICTS.map((verdict) => {
            const on = shown.verdicts.includes(verdict);
            const count = page?.rows.filter((row) => row.verdict === verdict).length ?? 0;
            return (
              <button type="button" class="chip" aria-pressed={on} onClick={() => changeState({ verdict: on ? shown.verdicts.filter((other) => other !== verdict) : [...shown.verdicts, verdict], at: null })}>
                {verdict} <span class="muted">{count}</span>
              </button>
            );
          })}
        </fieldset>
      </form>
      {answer.error && <ErrorLine {...answer} error={answer.error} />}
      {!page && !answer.error && <Waiting what="checkpoints" />}
      {page && (
        <>
          <Headline rows={page.rows} metric={gating[0] ?? page.metrics[0]} />
          <LiveRows live={page.live} />
          <Problems lines={page.problems} />
          {drawn && rows.length > 0 && (
            <section class="panel">
              <div class="panel-head">
                <h2>Trend</h2>
                <Choice label="Metric" value={drawn.name} options={page.metrics.map((metric) => [metric.name, metric.unit ? `${metric.label} (${metric.unit})` : metric.label])} change={(trend) => changeState({ trend }, true)} />
              </div>
              <Trend rows={rows} metric={drawn} baseline={baseline} trainingRuns={trainingRuns} />
            </section>
          )}
          <div class="panel-head">
            <h2>{formatCount(rows.length)} {rows.length === 1 ? "checkpoint" : "checkpoints"}{rows.length < page.rows.length ? ` of ${formatCount(page.rows.length)}` : ""}</h2>
            {gating.length > 0 && gating.length < page.metrics.length && (
              <button type="button" class="button small" aria-pressed={query.get("metrics") === "all"} onClick={() => changeState({ metrics: query.get("metrics") === "all" ? null : "all" })}>All {page.metrics.length} metrics</button>
            )}
          </div>
          {rows.length ? (
            <div class="wide" tabIndex={0} role="region" aria-label="Matrix of checkpoints and metrics">
              <Matrix rows={visible} metrics={columns} sort={shown.sort} descending={shown.descending} picked={picked} pick={pick} at={at} baseline={baseline?.run ?? null}
                sortBy={(column) => changeState({ sort: column, order: shown.sort === column && shown.descending ? "asc" : null, at: null })} />
            </div>
          ) : <Empty>No checkpoint fits these filters. <button type="button" class="button small" onClick={() => goTo(changedQuery({ page: "checkpoints", suite }))}>Clear them</button></Empty>}
          {rows.length > visible.length && <button type="button" class="button" onClick={() => changeState({ rows: "all" })}>Show all {formatCount(rows.length)}</button>}
        </>
      )}
      {picked.length > 0 && (
        <div class="picked" role="region" aria-label="Picked to compare">
          {pair.length === 2 ? (
            <>
              <span>{checkpointOf(pair[0]!.run)} {"\u2192"} {checkpointOf(pair[1]!.run)}</span>
              <Link to={comparison("compare")} class="button main">Compare</Link>
              <Link to={comparison("explorer")} class="button">Images</Link>
            </>
          ) : <span>{checkpointOf(picked[0])}: pick one more to compare</span>}
          <button type="button" class="button" onClick={() => changeState({ pick: null }, true)}>Clear</button>
        </div>
      )}
    </>
  );
}
