// Metrics of two runs with their paired differences; the slices of a metric unfold under it.
import { useState } from "preact/hooks";
import { IntervalMark, reachOf } from "../charts/interval";
import type { ComparedMetric, Comparison } from "../shell/answers";
import { formatCount, formatDifference, formatInterval, formatNumber, formatP } from "../shell/format";
import { isWithinMargin, OutcomeMark, toneOfOutcome } from "../shell/verdict";

function intervalOf(comparison: Comparison) {
  return { value: comparison.difference, low: comparison.low, high: comparison.high };
}

function Numbers(props: { of: Comparison; reach: number; metric?: ComparedMetric; names: [string, string] }) {
  const { of, metric } = props;
  const within = isWithinMargin(intervalOf(of), metric);
  return (
    <>
      <td role="cell" class="n" data-label={props.names[0]}>{formatNumber(of.left)}</td>
      <td role="cell" class="n" data-label={props.names[1]}>{formatNumber(of.right)}</td>
      <td role="cell" class="n" data-label="difference">{formatDifference(of.difference)} <small class="muted">{formatInterval(of.low, of.high, true)}</small></td>
      <td role="cell" class="mark"><IntervalMark difference={intervalOf(of)} reach={props.reach} margin={metric?.margin} tone={toneOfOutcome(of.outcome, within)} /></td>
      <td role="cell" class="n" data-label="p">{formatP(of.p)}</td>
      <td role="cell" class="n" data-label="images">{formatCount(of.n)}</td>
      <td role="cell"><OutcomeMark outcome={of.outcome} within={within} words /></td>
    </>
  );
}

function MetricRows(props: { metric: ComparedMetric; names: [string, string] }) {
  const { metric, names } = props;
  const [open, setOpen] = useState(false);
  // A metric and its slices share an axis, so that their lengths can be compared.
  const reach = Math.max(reachOf([metric, ...metric.slices].map(intervalOf)), metric.margin ?? 0) * 1.1;
  return (
    <>
      <tr role="row" class={metric.gating ? "gating" : undefined}>
        <th scope="row" role="rowheader">
          {metric.slices.length > 0
            ? <button type="button" class="unfold" aria-expanded={open} onClick={() => setOpen(!open)}><span aria-hidden="true">{open ? "\u25be" : "\u25b8"}</span> {metric.label}</button>
            : metric.label}{" "}
          {metric.gating && <span class="tag">decides</span>}
          {metric.unit && <small class="muted block">{metric.unit}</small>}
        </th>
        <Numbers of={metric} reach={reach} metric={metric} names={names} />
      </tr>
      {open && metric.slices.map((slice) => (
        <tr role="row" class="slice">
          <th scope="row" role="rowheader"><span class="muted">{slice.name}</span> <bdi>{slice.value}</bdi></th>
          <Numbers of={slice} reach={reach} names={names} />
        </tr>
      ))}
    </>
  );
}

export function ComparedTable(props: { metrics: ComparedMetric[]; names: [string, string] }) {
  return (
    <div class="wide" tabIndex={0} role="region" aria-label="Metrics of both runs">
      <table class="numbers" role="table">
        <thead role="rowgroup">
          <tr role="row">
            {["Metric", props.names[0], props.names[1], "Difference", "worse or better, axis per metric", "p", "Images", "Outcome"].map((label, index) => (
              <th scope="col" role="columnheader" class={[1, 2, 3, 5, 6].includes(index) ? "n" : undefined}>{label}</th>
            ))}
          </tr>
        </thead>
        <tbody role="rowgroup">{props.metrics.map((metric) => <MetricRows key={metric.name} metric={metric} names={props.names} />)}</tbody>
      </table>
    </div>
  );
}
