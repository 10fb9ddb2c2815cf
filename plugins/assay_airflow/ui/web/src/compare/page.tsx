// Compare: any two kept runs, by metric and slice, with the gate's paired intervals; and what cannot be compared.
import type { Checkpoints, Compared, ComparedMetric, Suites } from "../shell/answers";
import { pathWith, useAnswer } from "../shell/api";
import { checkpointOf } from "../shell/format";
import { useKeys } from "../shell/keyboard";
import { Link } from "../shell/link";
import { Empty, ErrorLine, Problems, Waiting } from "../shell/notices";
import { changedQuery, changeState, goTo } from "../shell/query";
import { Choice } from "../shell/text_field";
import { ComparedTable } from "./table";

const WEIGHT: Record<string, number> = { worse: 0, better: 1, unclear: 2, same: 3 };

/** Metrics that decide first, then the worse ones, then by the size of the evidence. */
export function orderMetrics(metrics: ComparedMetric[]): ComparedMetric[] {
  return [...metrics].sort((left, right) =>
    Number(right.gating ?? false) - Number(left.gating ?? false)
    || (WEIGHT[left.outcome ?? ""] ?? 4) - (WEIGHT[right.outcome ?? ""] ?? 4)
    || (left.p ?? 1) - (right.p ?? 1));
}

function RunChoice(props: { label: string; run: string; rows: Checkpoints["rows"]; change: (run: string) => void }) {
  const options = props.rows.map((row): [string, string] => [row.run, `${row.checkpoint} ${row.verdict ?? ""}`]);
  if (props.run && !options.some(([run]) => run === props.run)) options.unshift([props.run, checkpointOf(props.run)]);
  return <Choice label={props.label} value={props.run} options={props.run ? options : [["", "choose"], ...options]} change={props.change} />;
}

export function ComparePage(props: { query: URLSearchParams }) {
  const { query } = props;
  const [left, right] = [query.get("left") ?? "", query.get("right") ?? ""];
  const suites = useAnswer<Suites>("api/suites");
  const suite = query.get("suite") ?? suites.value?.suites[0]?.name ?? null;
  const others = useAnswer<Checkpoints>(suite ? pathWith("api/checkpoints", { suite }) : null);
  const answer = useAnswer<Compared>(left && right ? pathWith("api/compare", { left, right }) : null);
  const compared = answer.value;
  const clear = query.get("only") === "clear";
  useKeys([
    { keys: ["e"], does: "their images", run: () => left && right && goTo(changedQuery({ page: "explorer", left, right })) },
    { keys: ["s"], does: "swap the sides", run: () => changeState({ left: right, right: left }) },
  ]);
  const metrics = orderMetrics(compared?.metrics ?? []).filter((metric) => !clear || metric.outcome === "worse" || metric.outcome === "better");
  const count = (outcome: string) => compared?.metrics.filter((metric) => metric.outcome === outcome).length ?? 0;
  const names: [string, string] = [checkpointOf(left), checkpointOf(right)];
  return (
    <>
      <div class="title">
        <h1>{left && right ? <><span class="left-name">{names[0]}</span> {"\u2192"} <span class="right-name">{names[1]}</span></> : "Compare two runs"}</h1>
        {left && right && <Link to={{ page: "explorer", left, right }} class="button main">Ten worst images</Link>}
        {left && right && <Link to={{ page: "compare", left: right, right: left, suite: query.get("suite") }} class="quiet">Swap sides</Link>}
      </div>
      <form class="filters" onSubmit={(event) => event.preventDefault()}>
        {(suites.value?.suites.length ?? 0) > 1 && <Choice label="Suite" value={suite ?? ""} options={suites.value!.suites.map((each) => [each.name, each.name])} change={(name) => changeState({ suite: name })} />}
        <RunChoice label="Left" run={left} rows={others.value?.rows ?? []} change={(run) => changeState({ left: run })} />
        <RunChoice label="Right" run={right} rows={others.value?.rows ?? []} change={(run) => changeState({ right: run })} />
      </form>
      {answer.error && <ErrorLine {...answer} error={answer.error} />}
      {left && right && !compared && !answer.error && <Waiting what="the comparison" />}
      {!(left && right) && <Empty>Choose two runs.</Empty>}
      {compared && (
        <>
          <Problems lines={compared.problems} tone={compared.comparable ? "unsure" : "fail"} title={compared.comparable ? "Read with care" : "These two cannot be compared"} />
          {compared.metrics.length > 0 && (
            <>
              <div class="panel-head">
                <h2>{count("worse")} worse, {count("better")} better, {compared.metrics.length - count("worse") - count("better")} without a clear difference</h2>
                <button type="button" class="button small" aria-pressed={clear} onClick={() => changeState({ only: clear ? null : "clear" })}>Clear differences only</button>
              </div>
              <ComparedTable metrics={metrics} names={names} />
            </>
          )}
        </>
      )}
    </>
  );
}
