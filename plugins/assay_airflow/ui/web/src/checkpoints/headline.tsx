// The two things that a person wants at once: which checkpoint is best, and what is wrong with the newest.
import type { CheckpointRow, MetricFacts } from "../shell/answers";
import { formatInterval, formatNumber } from "../shell/format";
import { Link } from "../shell/link";
import { toneOf, Verdict } from "../shell/verdict";

/** The newest accepted run, with which the next one is compared. */
export function baselineOf(rows: CheckpointRow[]): CheckpointRow | null {
  return rows.filter((row) => row.accepted).reduce<CheckpointRow | null>((last, row) => (last && (last.created ?? "") >= (row.created ?? "") ? last : row), null);
}

/** The best value of `metric` among checkpoints that passed, or null where none did. */
export function bestOf(rows: CheckpointRow[], metric: MetricFacts | undefined): CheckpointRow | null {
  if (!metric) return null;
  const sign = metric.higher_is_better === false ? -1 : 1;
  const score = (row: CheckpointRow) => sign * (row.metrics[metric.name]?.value ?? -Infinity * sign);
  const passed = rows.filter((row) => row.verdict === "PASS" && typeof row.metrics[metric.name]?.value === "number");
  return passed.reduce<CheckpointRow | null>((best, row) => (best && score(best) >= score(row) ? best : row), null);
}

export function Headline(props: { rows: CheckpointRow[]; metric: MetricFacts | undefined }) {
  const { rows, metric } = props;
  const best = bestOf(rows, metric);
  const newest = rows.reduce<CheckpointRow | null>((last, row) => (last && (last.created ?? "") >= (row.created ?? "") ? last : row), null);
  const value = best && metric ? best.metrics[metric.name] : undefined;
  return (
    <div class="headline">
      {best && metric && (
        <section class="card pass">
          <h2>Best that passed</h2>
          <p class="big"><Link to={{ page: "run", run: best.run }}>{best.checkpoint}</Link> {best === baselineOf(rows) && <span class="tag">baseline</span>}</p>
          <p>{metric.label} <b>{formatNumber(value?.value)}</b> <span class="muted">{formatInterval(value?.low, value?.high)}</span></p>
        </section>
      )}
      {newest && (
        <section class={`card ${toneOf(newest.verdict)}`}>
          <h2>Newest</h2>
          <p class="big"><Link to={{ page: "run", run: newest.run }}>{newest.checkpoint}</Link> <Verdict verdict={newest.verdict} /></p>
          <p>{newest.reason}</p>
          <p><Link to={{ page: "explorer", left: newest.baseline_run, right: newest.run }}>Its ten worst images</Link></p>
        </section>
      )}
    </div>
  );
}
