// What the explorer shows, read from the query string, and the same as parameters of the server's questions.

export interface ExplorerState {
  left: string;
  right: string;
  dag: string;
  dagRun: string;
  sort: string;
  by: string;
  order: string;
  offset: number;
  limit: number;
  text: string;
  label: string;
  status: string;
  least: string[]; // NAME:x
  most: string[];
  at: number; // which row of this page the keyboard stands on
  opened: string; // the key of the image that is open, or ""
}

export const PAGE_SIZES = [10, 25, 50, 100];
export const STATUSES = ["ok", "failed", "rejected", "truncated", "judge_missing"];

function natural(text: string | null, otherwise: number): number {
  const value = Number(text);
  return text && Number.isSafeInteger(value) && value >= 0 ? value : otherwise;
}

export function stateOf(query: URLSearchParams): ExplorerState {
  const text = (name: string) => query.get(name) ?? "";
  return {
    left: text("left"),
    right: text("right") || text("run"),
    dag: text("dag"),
    dagRun: text("dag_run"),
    sort: text("sort"),
    by: text("by"),
    order: text("order"),
    offset: natural(query.get("offset"), 0),
    limit: Math.min(100, natural(query.get("limit"), 10) || 10),
    text: text("q"),
    label: text("label"),
    status: text("status"),
    least: query.getAll("metric_min"),
    most: query.getAll("metric_max"),
    at: natural(query.get("at"), 0),
    opened: text("open"),
  };
}

/** The filters, for `pairs`, `histogram` and the CSV alike. */
export function filtersOf(state: ExplorerState): Record<string, string | string[]> {
  return {
    left: state.left, right: state.right, dag: state.right ? "" : state.dag, dag_run: state.right ? "" : state.dagRun,
    sort: state.sort, by: state.by, order: state.order, q: state.text, label: state.label, status: state.status,
    metric_min: state.least, metric_max: state.most,
  };
}

/** The bound of `metric` in a list of NAME:x, or null. */
export function boundOf(bounds: string[], metric: string): number | null {
  const bound = bounds.find((each) => each.startsWith(`${metric}:`));
  const value = bound === undefined ? NaN : Number(bound.slice(metric.length + 1));
  return Number.isFinite(value) ? value : null;
}

/** `bounds` with the one of `metric` replaced, or taken out where `value` is null. */
export function withBound(bounds: string[], metric: string, value: number | null): string[] {
  const others = bounds.filter((each) => !each.startsWith(`${metric}:`));
  return value === null ? others : [...others, `${metric}:${value}`];
}
