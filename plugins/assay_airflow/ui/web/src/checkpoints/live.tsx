// Validations under way: stage, progress, and when they end if they go on as they did.
import { useEffect, useState } from "preact/hooks";
import type { LiveValidation } from "../shell/answers";
import { formatCount, formatSeconds } from "../shell/format";
import { Link } from "../shell/link";

/** Seconds to the end of the stage at the pace so far; null before there is a pace. */
export function secondsLeft(live: LiveValidation, now: number): number | null {
  if (!live.done || !live.total || !live.started) return null;
  const spent = (now - Date.parse(live.started)) / 1000;
  return spent > 0 ? (spent * Math.max(0, live.total - live.done)) / live.done : null;
}

export function LiveRows(props: { live: LiveValidation[] }) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = window.setInterval(() => setNow(Date.now()), 1000);
    return () => window.clearInterval(timer);
  }, []);
  if (!props.live.length) return null;
  return (
    <section class="live" aria-label="Under way">
      <h2>Under way</h2>
      <ul>
        {props.live.map((live) => {
          const left = secondsLeft(live, now);
          const name = live.checkpoint ?? live.run_id;
          return (
            <li>
              <b><Link to={{ page: "run", dag: live.dag_id, dag_run: live.run_id }}>{name}</Link></b>
              <span class="muted">{live.stage ?? "waiting"}</span>
              {live.total ? <progress max={live.total} value={live.done ?? 0} aria-label={`${name}, ${live.stage ?? ""}`} /> : <progress aria-label={`${name}, ${live.stage ?? ""}`} />}
              <span class="n">{live.total ? `${formatCount(live.done)} of ${formatCount(live.total)}` : ""}</span>
              <span class="muted">{left !== null ? `about ${formatSeconds(left)} left` : live.started ? `since ${formatSeconds((now - Date.parse(live.started)) / 1000)}` : ""}</span>
            </li>
          );
        })}
      </ul>
    </section>
  );
}
