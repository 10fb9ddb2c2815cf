// Phases of a run as bars on one clock. A phase without a start stands where the phase before it ended.
import { scaleLinear } from "d3-scale";
import type { Phase } from "../shell/answers";
import { formatSeconds, wordsOf } from "../shell/format";

interface Bar {
  name: string;
  from: number; // seconds after the first phase began
  seconds: number;
}

/** The phases as bars, in the order of their starts. */
export function placePhases(phases: Phase[]): Bar[] {
  const starts = phases.map((phase) => (phase.started ? Date.parse(phase.started) / 1000 : NaN));
  const zero = Math.min(...starts.filter(Number.isFinite));
  let end = 0;
  const bars = phases.map((phase, index) => {
    const start = starts[index]!;
    const bar = { name: phase.name, from: Number.isFinite(start) ? start - zero : end, seconds: phase.seconds ?? 0 };
    end = Math.max(end, bar.from + bar.seconds);
    return bar;
  });
  return bars.sort((left, right) => left.from - right.from);
}

// The engine's seconds added up over all requests, which run beside each other: they have no place on the clock.
const OF_REQUESTS = /^caption: (render|queue|prefill|decode)$/;

export function Waterfall(props: { phases: Phase[] }) {
  const bars = placePhases(props.phases.filter((phase) => !OF_REQUESTS.test(phase.name)));
  const requests = props.phases.filter((phase) => OF_REQUESTS.test(phase.name));
  const end = Math.max(...bars.map((bar) => bar.from + bar.seconds), 0.001);
  const place = scaleLinear([0, end], [0, 100]);
  return (
    <>
    <table class="waterfall">
      <caption class="unseen">Phases and their times, {formatSeconds(end)} in all</caption>
      <thead class="unseen"><tr><th scope="col">Phase</th><th scope="col">When</th><th scope="col">Took</th></tr></thead>
      <tbody>
        {bars.map((bar) => (
          <tr>
            <th scope="row">{wordsOf(bar.name)}</th>
            <td class="track">
              <div class="phase" title={`${formatSeconds(bar.from)} after the start, ${formatSeconds(bar.seconds)}`}
                style={{ marginLeft: `${place(bar.from)}%`, width: `max(2px, ${place(bar.seconds)}%)` }} />
            </td>
            <td class="n">{formatSeconds(bar.seconds)}</td>
          </tr>
        ))}
      </tbody>
    </table>
    {requests.length > 0 && (
      <p class="muted small">Beside each other, added up over all requests: {requests.map((phase) => `${phase.name.replace("caption: ", "")} ${formatSeconds(phase.seconds)}`).join(", ")}</p>
    )}
    </>
  );
}
