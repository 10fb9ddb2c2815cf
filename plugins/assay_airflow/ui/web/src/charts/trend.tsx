// A metric over the training step: one line a training run, error bars, and the margin around the baseline.
import { extent, group } from "d3-array";
import { scaleLinear } from "d3-scale";
import { line } from "d3-shape";
import type { CheckpointRow, MetricFacts } from "../shell/answers";
import { formatInterval, formatNumber } from "../shell/format";
import { changedQuery, goTo } from "../shell/query";
import { toneOf } from "../shell/verdict";
import { useWidth } from "./width";

const HEIGHT = 240;
const EDGE = { top: 12, right: 14, bottom: 30, left: 46 };
export const SERIES_COLOURS = 6; // as many as app.css names; further training runs begin again

interface Point {
  row: CheckpointRow;
  step: number;
  value: number;
  low: number | null;
  high: number | null;
}

function pointsOf(rows: CheckpointRow[], metric: string): Point[] {
  return rows.flatMap((row) => {
    const measured = row.metrics[metric];
    if (row.step === null || !measured || measured.value === null) return [];
    return [{ row, step: row.step, value: measured.value, low: measured.low, high: measured.high }];
  });
}

/** The baseline's value; the baseline itself may be filtered out, or have no step. */
function valueOfBaseline(row: CheckpointRow, metric: string): { checkpoint: string; value: number } | null {
  const value = row.metrics[metric]?.value;
  return typeof value === "number" ? { checkpoint: row.checkpoint, value } : null;
}

function Shape(props: { verdict: string | null; x: number; y: number }) {
  const { x, y } = props;
  if (props.verdict === "FAIL") return <path d={`M${x - 4} ${y - 4}L${x + 4} ${y + 4}M${x - 4} ${y + 4}L${x + 4} ${y - 4}`} class="cross" />;
  if (props.verdict === "PASS") return <circle cx={x} cy={y} r={4} class="dot" />;
  return <circle cx={x} cy={y} r={4} class="ring" />;
}

export function Trend(props: { rows: CheckpointRow[]; metric: MetricFacts; baseline: CheckpointRow | null; trainingRuns: string[] }) {
  const [home, width] = useWidth();
  const points = pointsOf(props.rows, props.metric.name);
  const unplaced = props.rows.length - points.length;
  const baseline = props.baseline && valueOfBaseline(props.baseline, props.metric.name);
  const margin = props.metric.margin ?? null;
  const values = points.flatMap((point) => [point.value, point.low ?? point.value, point.high ?? point.value]);
  if (baseline && margin) values.push(baseline.value - margin, baseline.value + margin);
  const [least, most] = extent(values);
  const [first, last] = extent(points, (point) => point.step);
  if (least === undefined || first === undefined || most === undefined || last === undefined) {
    return <div ref={home} class="trend"><p class="notice empty">No checkpoint of these has both a step and a value of {props.metric.label}.</p></div>;
  }
  const room = most === least ? Math.abs(most) * 0.1 || 0.5 : (most - least) * 0.04;
  const y = scaleLinear([least - room, most + room], [HEIGHT - EDGE.bottom, EDGE.top]);
  const side = first === last ? Math.abs(first) * 0.1 || 1 : (last - first) * 0.03;
  const x = scaleLinear([first - side, last + side], [EDGE.left, width - EDGE.right]);
  const seriesOf = (row: CheckpointRow) => Math.max(0, props.trainingRuns.indexOf(row.training_run ?? "")) % SERIES_COLOURS;
  const draw = line<Point>((point) => x(point.step), (point) => y(point.value));
  const series = [...group(points, (point) => point.row.training_run ?? "").values()];
  return (
    <div ref={home} class="trend">
      <svg width={width} height={HEIGHT} role="group" aria-label={`${props.metric.label} over the training step`}>
        {y.ticks(5).map((tick) => (
          <g class="axis"><line x1={EDGE.left} x2={width - EDGE.right} y1={y(tick)} y2={y(tick)} /><text x={EDGE.left - 8} y={y(tick)} dy="0.32em" text-anchor="end">{y.tickFormat(5)(tick)}</text></g>
        ))}
        {x.ticks(Math.max(2, Math.floor(width / 110))).filter((tick) => tick >= 0 && Number.isInteger(tick)).map((tick) => (
          <g class="axis"><text x={x(tick)} y={HEIGHT - 10} text-anchor="middle">{tick.toLocaleString("en")}</text></g>
        ))}
        {baseline && margin && (
          <g class="band">
            <rect x={EDGE.left} width={width - EDGE.left - EDGE.right} y={y(baseline.value + margin)} height={Math.max(1, y(baseline.value - margin) - y(baseline.value + margin))} />
            <line x1={EDGE.left} x2={width - EDGE.right} y1={y(baseline.value)} y2={y(baseline.value)} />
            <title>{`baseline ${baseline.checkpoint} \u00b1 margin ${formatNumber(margin)}`}</title>
          </g>
        )}
        {series.map((run) => {
          const ordered = [...run].sort((left, right) => left.step - right.step);
          return <path class={`series s${seriesOf(ordered[0]!.row)}`} d={draw(ordered) ?? ""} />;
        })}
        {points.map((point) => {
          const name = `${point.row.checkpoint}: ${formatNumber(point.value)} ${formatInterval(point.low, point.high)}, ${point.row.verdict ?? "no verdict"}`;
          const search = changedQuery({ page: "run", run: point.row.run });
          return (
            <a href={search} aria-label={name} class={`point s${seriesOf(point.row)} ${toneOf(point.row.verdict)}`}
              onClick={(event: MouseEvent) => { if (!event.ctrlKey && !event.metaKey) { event.preventDefault(); goTo(search); } }}>
              <title>{name}</title>
              <circle class="target" cx={x(point.step)} cy={y(point.value)} r={12} />
              {point.low !== null && point.high !== null && <line class="error" x1={x(point.step)} x2={x(point.step)} y1={y(point.low)} y2={y(point.high)} />}
              <Shape verdict={point.row.verdict} x={x(point.step)} y={y(point.value)} />
            </a>
          );
        })}
      </svg>
      <p class="legend">
        {props.trainingRuns.length > 1 && props.trainingRuns.map((name, index) => <span><i class={`swatch s${index % SERIES_COLOURS}`} />{name || "no training run"}</span>)}
        <span>{"\u25cf"} PASS</span><span>{"\u2715"} FAIL</span><span>{"\u25cb"} other</span>
        {baseline && margin ? <span><i class="swatch band" />baseline {baseline.checkpoint} {"\u00b1"} margin {formatNumber(margin)}</span> : null}
        {unplaced > 0 && <span>{unplaced} without a step or a value</span>}
      </p>
    </div>
  );
}
