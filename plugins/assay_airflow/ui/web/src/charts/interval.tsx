// One difference with its interval on an axis through zero, the margin as a dashed line.
import { scaleLinear } from "d3-scale";
import type { Interval } from "../shell/answers";
import { formatDifference, formatInterval } from "../shell/format";

const WIDTH = 132;
const HEIGHT = 18;

/** The largest distance from zero of some differences and their intervals: rows of one unit share this reach. */
export function reachOf(intervals: (Interval | null)[]): number {
  const ends = intervals.flatMap((interval) => (interval ? [interval.value, interval.low, interval.high] : []));
  return Math.max(0, ...ends.map((end) => Math.abs(end ?? 0))) || 1;
}

export function IntervalMark(props: { difference: Interval; reach: number; margin?: number | null; tone: string }) {
  const { difference, reach, margin, tone } = props;
  if (difference.value === null) return null;
  const x = scaleLinear([-reach, reach], [4, WIDTH - 4]).clamp(true);
  const y = HEIGHT / 2;
  return (
    <svg class={`interval ${tone}`} width={WIDTH} height={HEIGHT} viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img">
      <title>{`${formatDifference(difference.value)} ${formatInterval(difference.low, difference.high, true)}, axis \u00b1${reach.toPrecision(2)}`}</title>
      <line class="zero" x1={x(0)} x2={x(0)} y1={1} y2={HEIGHT - 1} />
      {margin && [-margin, margin].map((end) => Math.abs(end) <= reach && (
        <line class="margin" x1={x(end)} x2={x(end)} y1={1} y2={HEIGHT - 1} />
      ))}
      {difference.low !== null && difference.high !== null && (
        <line class="reach" x1={x(difference.low)} x2={x(difference.high)} y1={y} y2={y} />
      )}
      <circle cx={x(difference.value)} cy={y} r={3.5} />
    </svg>
  );
}
