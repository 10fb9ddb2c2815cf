// Facts of a record as a list of terms, nested ones indented. The record is hostile: its depth and length are bounded.
import { formatCount, MISSING, wordsOf } from "./format";

const DEEPEST = 4;
const LONGEST = 60;

function textOf(value: unknown): string {
  if (value === null || value === undefined || value === "") return MISSING;
  if (typeof value === "number") return Number.isInteger(value) ? formatCount(value) : String(Number(value.toPrecision(4)));
  if (typeof value === "boolean") return value ? "yes" : "no";
  return String(value);
}

export function Facts(props: { of: Record<string, unknown>; depth?: number }) {
  const depth = props.depth ?? 0;
  const entries = Object.entries(props.of);
  return (
    <dl class={depth ? "facts nested" : "facts"}>
      {entries.slice(0, LONGEST).map(([name, value]) => (
        <div>
          <dt>{wordsOf(name)}</dt>
          <dd>
            {Array.isArray(value) && value.every((item) => typeof item !== "object")
              ? value.slice(0, LONGEST).map(textOf).join(", ") || MISSING
              : typeof value === "object" && value !== null
                ? depth < DEEPEST
                  ? <Facts of={value as Record<string, unknown>} depth={depth + 1} />
                  : "\u2026"
                : textOf(value)}
          </dd>
        </div>
      ))}
      {entries.length > LONGEST && <div><dt>{"\u2026"}</dt><dd>{entries.length - LONGEST} more</dd></div>}
    </dl>
  );
}
