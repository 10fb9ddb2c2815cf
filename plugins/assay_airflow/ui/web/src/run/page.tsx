// A run: its verdict in one sentence, what that rests on, where images were lost, where the time went.
import { useEffect } from "preact/hooks";
import type { RunFacts } from "../shell/answers";
import { pathWith, useAnswer } from "../shell/api";
import { Funnel } from "../charts/funnel";
import { Waterfall } from "../charts/waterfall";
import { Facts } from "../shell/details";
import { checkpointOf } from "../shell/format";
import { useKeys } from "../shell/keyboard";
import { Link } from "../shell/link";
import { NewTab } from "../shell/new_tab";
import { Empty, ErrorLine, Problems, Waiting } from "../shell/notices";
import { changedQuery, changeState, goTo } from "../shell/query";
import { toneOf, Verdict } from "../shell/verdict";
import { MeasuredTable } from "./metrics";

// Words of the stored record that people do not use.
const NAMES: Record<string, string> = { told: "reason", swapped: "weights swapped" };

function renameFacts(facts: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(facts).map(([name, value]) => [NAMES[name] ?? name, value]));
}

export function RunPage(props: { query: URLSearchParams }) {
  const { query } = props;
  const asked = { run: query.get("run"), dag: query.get("run") ? null : query.get("dag"), dag_run: query.get("run") ? null : query.get("dag_run") };
  const known = Boolean(asked.run || asked.dag_run);
  const answer = useAnswer<RunFacts>(known ? pathWith("api/run", asked) : null);
  const run = answer.value;
  // The frame's links to the images and the comparison need the baseline as well.
  useEffect(() => {
    if (asked.run && run?.run === asked.run && run.baseline_run && !query.get("left")) changeState({ left: run.baseline_run }, true);
  }, [run]);
  useKeys([
    { keys: ["e"], does: "its images", run: () => run && goTo(changedQuery({ page: "explorer", left: run.baseline_run, right: run.run })) },
    { keys: ["c"], does: "compare with its baseline", run: () => run?.baseline_run && goTo(changedQuery({ page: "compare", left: run.baseline_run, right: run.run })) },
  ]);
  if (!known) return <Empty>Choose a run on the page <Link to={{ page: "checkpoints" }}>Checkpoints</Link>.</Empty>;
  if (answer.error) return <ErrorLine {...answer} error={answer.error} />;
  if (!run) return <Waiting what="the run" />;
  const order = run.about?.map((metric) => metric.name) ?? [];
  const place = (name: string) => (order.includes(name) ? order.indexOf(name) : order.length);
  const names = Object.keys(run.metrics).sort((left, right) => place(left) - place(right));
  const gating = names.filter((name) => run.about?.find((metric) => metric.name === name)?.gating);
  const first = gating.length ? gating : names.slice(0, 5);
  const rest = names.filter((name) => !first.includes(name));
  return (
    <>
      <header class={`verdict-head ${toneOf(run.verdict)}`}>
        <h1>{run.checkpoint} <Verdict verdict={run.verdict} /></h1>
        <p class="sentence">{run.sentence?.replace(`${run.checkpoint}: ${run.verdict}: `, "") ?? "No verdict has been published for this run yet."}</p>
        <p class="links">
          <Link to={{ page: "explorer", left: run.baseline_run, right: run.run }} class="button main">Ten worst images</Link>
          {run.baseline_run && <Link to={{ page: "compare", left: run.baseline_run, right: run.run }} class="button">Compare with {checkpointOf(run.baseline_run)}</Link>}
          <NewTab href={run.links.report} class="button">Report</NewTab>
          <NewTab href={run.links.ray_job} class="button">Ray job</NewTab>
          <NewTab href={run.links.dag_run} class="button">Airflow run</NewTab>
          {run.suite && <Link to={{ page: "checkpoints", suite: run.suite }} class="quiet">All of {run.suite}</Link>}
        </p>
      </header>
      <Problems lines={run.problems} />
      <div class="columns">
        <section class="panel"><h2>What it rests on</h2><Facts of={run.rests_on} /></section>
        <section class="panel"><h2>Images</h2>{run.funnel.length ? <Funnel steps={run.funnel} /> : <Empty>No counts in the record.</Empty>}</section>
      </div>
      {first.length > 0 && <section class="panel"><h2>{gating.length ? "Metrics that decide" : "Metrics"}</h2><MeasuredTable names={first} metrics={run.metrics} about={run.about} title="Metrics that decide" />
        {rest.length > 0 && <details><summary>{rest.length} more metrics</summary><MeasuredTable names={rest} metrics={run.metrics} about={run.about} title="More metrics" /></details>}
      </section>}
      <div class="columns">
        <section class="panel"><h2>Phases</h2>{run.phases.length ? <Waterfall phases={run.phases} /> : <Empty>No times in the record.</Empty>}</section>
        <section class="panel"><h2>Engine</h2>{Object.keys(run.engine).length ? <Facts of={renameFacts(run.engine)} /> : <Empty>The record says nothing about an engine.</Empty>}</section>
      </div>
      <details class="panel"><summary>The record</summary><pre class="record" tabIndex={0}>{JSON.stringify(run.record, null, 1)}</pre></details>
    </>
  );
}
