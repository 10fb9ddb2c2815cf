// Verdicts and outcomes: a word and a shape beside the colour, because not everybody sees the colour.
import type { Interval, MetricFacts, Outcome } from "./answers";

const TONES: Record<string, string> = { PASS: "pass", FAIL: "fail", INCONCLUSIVE: "unsure", INCOMPLETE: "broken" };
const SHAPES: Record<string, string> = { PASS: "\u2713", FAIL: "\u2715", INCONCLUSIVE: "?", INCOMPLETE: "\u25d0" };

export function toneOf(verdict: string | null): string {
  return TONES[verdict ?? ""] ?? "plain";
}

export function Verdict(props: { verdict: string | null }) {
  const { verdict } = props;
  return (
    <span class={`badge ${toneOf(verdict)}`}>
      <span aria-hidden="true">{SHAPES[verdict ?? ""] ?? "\u2022"}</span> {verdict ?? "none yet"}
    </span>
  );
}

const OUTCOMES: Record<string, [shape: string, word: string]> = {
  worse: ["\u25bc", "worse"],
  better: ["\u25b2", "better"],
  same: ["=", "same"],
  unclear: ["\u2248", "no clear difference"],
};

/** Whether a worse metric is certainly no worse than its margin allows: the gate passes it. */
export function isWithinMargin(difference: Interval | null, facts: MetricFacts | undefined): boolean {
  const margin = facts?.margin;
  if (typeof margin !== "number" || !difference) return false;
  if (facts?.higher_is_better === false) return difference.high !== null && difference.high <= margin;
  return difference.low !== null && difference.low >= -margin;
}

/** The tone of an outcome: a metric that is worse within its margin is no fault. */
export function toneOfOutcome(outcome: Outcome, within = false): string {
  if (outcome === "worse") return within ? "unsure" : "fail";
  return outcome === "better" ? "pass" : "plain";
}

/** The arrow against the baseline; `words` writes the word as well, else it is in the title and for screen readers. */
export function OutcomeMark(props: { outcome: Outcome; within?: boolean; words?: boolean }) {
  const entry = OUTCOMES[props.outcome ?? ""];
  if (!entry) return null;
  const [shape, name] = entry;
  const within = props.outcome === "worse" && props.within;
  const tone = toneOfOutcome(props.outcome, within);
  const word = within ? "worse, within the margin" : name;
  return (
    <span class={`outcome ${tone}`} title={word}>
      <span aria-hidden="true">{shape}</span>
      <span class={props.words ? "word" : "unseen"}> {word}</span>
    </span>
  );
}
