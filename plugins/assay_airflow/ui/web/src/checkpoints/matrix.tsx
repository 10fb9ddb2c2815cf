// The matrix of checkpoint and gating metric: value, interval, the arrow against the baseline, and the verdict.
import type { CheckpointRow, MeasuredMetric, MetricFacts } from "../shell/answers";
import { pathWith } from "../shell/api";
import { checkpointOf, formatDifference, formatInterval, formatNumber, formatTime } from "../shell/format";
import { Link } from "../shell/link";
import { NewTab } from "../shell/new_tab";
import { isWithinMargin, OutcomeMark, Verdict } from "../shell/verdict";

function Cell(props: { measured: MeasuredMetric | undefined; metric: MetricFacts; baseline: string | null }) {
  const { measured } = props;
  if (!measured || measured.value === null) return <span class="muted">{"\u2013"}</span>;
  const { difference } = measured;
  const against = difference ? `${formatDifference(difference.value)} ${formatInterval(difference.low, difference.high, true)} against ${checkpointOf(props.baseline) || "the baseline"}` : undefined;
  return (
    <>
      <span class="value">{formatNumber(measured.value)}</span>{" "}
      <small class="muted">{formatInterval(measured.low, measured.high)}</small>
      {difference && typeof difference.value === "number" && (
        <small class="against" title={against}><OutcomeMark outcome={measured.outcome} within={isWithinMargin(difference, props.metric)} /> {formatDifference(difference.value)}</small>
      )}
    </>
  );
}

export interface MatrixProps {
  rows: CheckpointRow[];
  metrics: MetricFacts[];
  sort: string;
  descending: boolean;
  sortBy: (column: string) => void;
  picked: string[];
  pick: (run: string) => void;
  at: number;
  baseline: string | null; // the run that the next one is compared with
}

/** What a person decided against the verdict. */
function Decision(props: { row: CheckpointRow }) {
  const passed = props.row.verdict === "PASS";
  if (props.row.accepted === passed) return null;
  return <span class="tag">{passed ? "not accepted" : "accepted"}</span>;
}

export function Matrix(props: MatrixProps) {
  const head = (column: string, label: string, numeric = false) => (
    <th scope="col" role="columnheader" class={numeric ? "n" : undefined} aria-sort={props.sort === column ? (props.descending ? "descending" : "ascending") : undefined}>
      <button type="button" class="sort" onClick={() => props.sortBy(column)}>{label}<span aria-hidden="true">{props.sort === column ? (props.descending ? " \u2193" : " \u2191") : ""}</span></button>
    </th>
  );
  return (
    <table class="matrix" role="table" aria-label="Checkpoints">
      <thead role="rowgroup">
        <tr role="row">
          <th scope="col" role="columnheader"><span class="unseen">Pick two to compare</span></th>
          {head("checkpoint", "Checkpoint")}{head("step", "Step", true)}
          <th scope="col" role="columnheader">Verdict</th>
          {props.metrics.map((metric) => head(metric.name, metric.label, true))}
          {head("created", "Validated")}
          <th scope="col" role="columnheader">Open</th>
        </tr>
      </thead>
      <tbody role="rowgroup">
        {props.rows.map((row, index) => (
          <tr role="row" class={index === props.at ? "current" : undefined} data-run={row.run}>
            <td role="cell" class="pick">
              <input type="checkbox" checked={props.picked.includes(row.run)} aria-label={`Pick ${row.checkpoint} to compare`} onChange={() => props.pick(row.run)} />
            </td>
            <th scope="row" role="rowheader">
              <Link to={{ page: "run", run: row.run }}>{row.checkpoint}</Link>{" "}
              {row.run === props.baseline ? <span class="tag">baseline</span> : <Decision row={row} />}
              {row.training_run && <small class="muted block">{row.training_run}</small>}
            </th>
            <td role="cell" class="n" data-label="step">{row.step === null ? "\u2013" : row.step.toLocaleString("en")}</td>
            <td role="cell" class="why">
              <Verdict verdict={row.verdict} />
              {row.verdict !== "PASS" && row.reason && <small class="muted block clamp" title={row.reason}>{row.reason}</small>}
            </td>
            {props.metrics.map((metric) => (
              <td role="cell" class="n" data-label={metric.label}><Cell measured={row.metrics[metric.name]} metric={metric} baseline={row.baseline_run} /></td>
            ))}
            <td role="cell" class="when" data-label="validated">{formatTime(row.created)}</td>
            <td role="cell" class="open">
              <Link to={{ page: "explorer", left: row.baseline_run, right: row.run }} title={row.baseline_run ? `Ten worst images against ${checkpointOf(row.baseline_run)}` : "Ten worst images"}>Images</Link>{" "}
              {row.report && <NewTab href={pathWith("api/report", { run: row.run })}>Report</NewTab>}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
