// The metrics of a run against its baseline.
import type { MeasuredMetric, MetricFacts } from "../shell/answers";
import { IntervalMark, reachOf } from "../charts/interval";
import { formatDifference, formatInterval, formatNumber, labelOf } from "../shell/format";
import { isWithinMargin, OutcomeMark, toneOfOutcome } from "../shell/verdict";

export function MeasuredTable(props: { names: string[]; metrics: Record<string, MeasuredMetric>; about: MetricFacts[] | undefined; title: string }) {
  const differs = props.names.some((name) => props.metrics[name]?.difference);
  return (
    <div class="wide" tabIndex={0} role="region" aria-label={props.title}>
      <table class="numbers" role="table">
        <thead role="rowgroup"><tr role="row"><th scope="col" role="columnheader">Metric</th><th scope="col" role="columnheader" class="n">Value</th>{differs && <><th scope="col" role="columnheader" class="n">Difference</th><th scope="col" role="columnheader">worse or better, axis per row</th><th scope="col" role="columnheader">Outcome</th></>}</tr></thead>
        <tbody role="rowgroup">
          {props.names.map((name) => {
            const measured = props.metrics[name]!;
            const facts = props.about?.find((metric) => metric.name === name);
            const { difference } = measured;
            const within = isWithinMargin(difference, facts);
            return (
              <tr role="row">
                <th scope="row" role="rowheader">{labelOf(name, props.about)} {facts?.unit && <small class="muted">{facts.unit}</small>}</th>
                <td role="cell" class="n" data-label="value">{formatNumber(measured.value)} <small class="muted">{formatInterval(measured.low, measured.high)}</small></td>
                {differs && (
                  <>
                    <td role="cell" class="n" data-label="difference">{difference ? formatDifference(difference.value) : "\u2013"} <small class="muted">{formatInterval(difference?.low, difference?.high, true)}</small></td>
                    <td role="cell" class="mark">{difference && <IntervalMark difference={difference} reach={Math.max(reachOf([difference]), facts?.margin ?? 0) * 1.1} margin={facts?.margin} tone={toneOfOutcome(measured.outcome, within)} />}</td>
                    <td role="cell"><OutcomeMark outcome={measured.outcome} within={within} words /></td>
                  </>
                )}
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}
