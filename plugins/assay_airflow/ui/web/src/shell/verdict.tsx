// Verdicts and outcomes: a word and a shape beside the colour, because not everybody sees the colour.
import type { Outcome } from "./answers";

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

const OUTCOMES: Record<string, [string, string, string]> = {
  worse: ["fail", "\u25bc", "worse"],
  better: ["pass", "\u25b2", "better"],
  same: ["plain", "=", "same"],
  unclear: ["plain", "\u2248", "no clear difference"],
};

/** The arrow against the baseline; `words` writes the word as well, else it is in the title and for screen readers. */
export function OutcomeMark(props: { outcome: Outcome; words?: boolean }) {
  const entry = OUTCOMES[props.outcome ?? ""];
  if (!entry) return null;
  const [tone, shape, word] = entry;
  return (
    <span class={`outcome ${tone}`} title={word}>
      <span aria-hidden="true">{shape}</span>
      <span class={props.words ? "word" : "unseen"}> {word}</span>
    </span>
  );
}
