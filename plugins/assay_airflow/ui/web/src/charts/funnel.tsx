// How many images came to each step of a run, and why some did not.
import type { FunnelStep } from "../shell/answers";
import { formatCount, wordsOf } from "../shell/format";

export function Funnel(props: { steps: FunnelStep[] }) {
  const most = Math.max(1, ...props.steps.map((step) => step.count ?? 0));
  return (
    <ol class="funnel">
      {props.steps.map((step, index) => {
        const before = props.steps[index - 1]?.count;
        const lost = typeof before === "number" && typeof step.count === "number" ? before - step.count : 0;
        return (
          <li>
            <span class="step">{wordsOf(step.label)}</span>
            <span class="track"><span class="fill" style={{ width: `${((step.count ?? 0) / most) * 100}%` }} /></span>
            <span class="n">{formatCount(step.count)}</span>
            {(lost > 0 || Object.keys(step.reasons ?? {}).length > 0) && (
              <span class="reasons">
                {lost > 0 && <b>{formatCount(lost)} fewer{Object.keys(step.reasons ?? {}).length > 0 ? ": " : ""}</b>}
                {Object.entries(step.reasons ?? {}).slice(0, 20).map(([reason, count]) => `${wordsOf(reason)} ${formatCount(count)}`).join(", ")}
              </span>
            )}
          </li>
        );
      })}
    </ol>
  );
}
