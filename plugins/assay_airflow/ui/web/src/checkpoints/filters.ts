// Which rows of a suite are shown, in which order: both are functions of the query string.
import type { CheckpointRow } from "../shell/answers";

export interface Shown {
  verdicts: string[];
  training: string;
  text: string;
  sort: string; // "step", "created", "checkpoint" or a metric
  descending: boolean;
}

export function shownOf(query: URLSearchParams): Shown {
  return {
    verdicts: query.getAll("verdict"),
    training: query.get("training") ?? "",
    text: (query.get("q") ?? "").toLowerCase(),
    sort: query.get("sort") ?? "created",
    descending: query.get("order") !== "asc",
  };
}

function valueOf(row: CheckpointRow, sort: string): number | string | null {
  if (sort === "step") return row.step;
  if (sort === "created") return row.created;
  if (sort === "checkpoint") return row.checkpoint;
  return row.metrics[sort]?.value ?? null;
}

export function filterRows(rows: CheckpointRow[], shown: Shown): CheckpointRow[] {
  const direction = shown.descending ? -1 : 1;
  return rows
    .filter((row) => !shown.verdicts.length || shown.verdicts.includes(row.verdict ?? ""))
    .filter((row) => !shown.training || row.training_run === shown.training)
    .filter((row) => !shown.text || `${row.checkpoint} ${row.training_run ?? ""} ${row.reason ?? ""}`.toLowerCase().includes(shown.text))
    .sort((left, right) => {
      const [a, b] = [valueOf(left, shown.sort), valueOf(right, shown.sort)];
      if (a === null || b === null) return Number(a === null) - Number(b === null); // what is missing comes last
      return a === b ? 0 : (a < b ? -1 : 1) * direction;
    });
}
