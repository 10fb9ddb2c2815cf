// Counts of the paired differences. Dragging over bars sets a range; the fields beside it do the same by keyboard.
import { max } from "d3-array";
import { scaleLinear, scaleSqrt } from "d3-scale";
import { useRef, useState } from "preact/hooks";
import type { Histogram } from "../shell/answers";
import { formatCount, formatNumber } from "../shell/format";
import { useWidth } from "./width";

const HEIGHT = 96;
const EDGE = { top: 8, right: 12, bottom: 20, left: 12 };
const CLICK_PX = 4;

export interface Range {
  least: number | null;
  most: number | null;
}

export function HistogramChart(props: { histogram: Histogram; range: Range; label: string; select: (range: Range) => void }) {
  const { edges, counts } = props.histogram;
  const [home, width] = useWidth(480);
  const [drag, setDrag] = useState<[number, number] | null>(null);
  const svg = useRef<SVGSVGElement>(null);
  const low = edges[0];
  const high = edges[edges.length - 1];
  if (low === undefined || high === undefined || low === high) {
    return <div ref={home} class="histogram"><p class="notice empty">No image has a value of {props.label}.</p></div>;
  }
  const x = scaleLinear([low, high], [EDGE.left, width - EDGE.right]).clamp(true);
  // A square root keeps a bar of three images visible beside one of 100,000.
  const y = scaleSqrt([0, max(counts) || 1], [0, HEIGHT - EDGE.top - EDGE.bottom]);
  const place = (event: PointerEvent) => event.clientX - (svg.current?.getBoundingClientRect().left ?? 0);
  const binAt = (pixel: number) => Math.min(counts.length - 1, Math.floor(((x.invert(pixel) - low) / (high - low)) * counts.length));
  const finish = () => {
    if (!drag) return;
    const [from, to] = [Math.min(...drag), Math.max(...drag)];
    setDrag(null);
    // A click takes the one bar under it; a drag takes whole bars, so that each counted image is in or out.
    const [firstBin, lastBin] = to - from < CLICK_PX ? [binAt(from), binAt(from)] : [binAt(from), binAt(to)];
    props.select({ least: edges[firstBin] ?? null, most: edges[lastBin + 1] ?? null });
  };
  const start = props.range.least ?? low;
  const end = props.range.most ?? high;
  const brush = drag ? [Math.min(...drag), Math.max(...drag)] as const : props.range.least !== null || props.range.most !== null ? [x(start), x(end)] as const : null;
  const ticks = x.ticks(Math.max(3, Math.floor(width / 90)));
  return (
    <div ref={home} class="histogram">
      <svg
        ref={svg} width={width} height={HEIGHT} role="img"
        aria-label={`${props.label}: ${formatCount(counts.reduce((sum, count) => sum + count, 0))} images from ${formatNumber(low)} to ${formatNumber(high)}`}
        onPointerDown={(event) => { event.currentTarget.setPointerCapture(event.pointerId); setDrag([place(event), place(event)]); }}
        onPointerMove={(event) => drag && setDrag([drag[0], place(event)])}
        onPointerUp={finish}
        onPointerCancel={() => setDrag(null)}
      >
        {brush && <rect class="brush" x={brush[0]} width={Math.max(2, brush[1] - brush[0])} y={0} height={HEIGHT - EDGE.bottom} />}
        {counts.map((count, index) => {
          const [from, to] = [x(edges[index]!), x(edges[index + 1]!)];
          const tall = count ? Math.max(2, y(count)) : 0;
          const middle = (edges[index]! + edges[index + 1]!) / 2;
          return (
            <rect class={middle < start || middle > end ? "bar out" : "bar"} x={from + 0.5} width={Math.max(1, to - from - 1)} y={HEIGHT - EDGE.bottom - tall} height={tall}>
              <title>{`${formatNumber(edges[index])} to ${formatNumber(edges[index + 1])}: ${formatCount(count)}`}</title>
            </rect>
          );
        })}
        {low < 0 && high > 0 && <line class="zero" x1={x(0)} x2={x(0)} y1={2} y2={HEIGHT - EDGE.bottom} />}
        <line class="base" x1={EDGE.left} x2={width - EDGE.right} y1={HEIGHT - EDGE.bottom} y2={HEIGHT - EDGE.bottom} />
        {ticks.map((tick) => <text x={x(tick)} y={HEIGHT - 5} text-anchor="middle">{x.tickFormat(ticks.length)(tick)}</text>)}
      </svg>
      {props.histogram.missing > 0 && <p class="muted">{formatCount(props.histogram.missing)} images have no value</p>}
    </div>
  );
}
