// Numbers, times and names as people read them.

export const MISSING = "\u2013";

const NOISE = 1e-9; // below this, a number is what floating point left of zero

/** Three decimals below 10, fewer above: 0.970, 12.1, 1,280,000; one digit of what would round to nothing: 0.0002. */
export function formatNumber(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return MISSING;
  const size = Math.abs(value);
  if (size < NOISE) return "0.000";
  if (size < 0.0005) return value.toPrecision(1).replaceAll("-", "\u2212");
  const digits = size >= 1000 || (Number.isInteger(value) && size >= 10) ? 0 : size >= 100 ? 1 : size >= 10 ? 2 : 3;
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }).replace("-", "\u2212");
}

/** A difference with its sign: +0.110, −0.211. */
export function formatDifference(value: number | null | undefined): string {
  const text = formatNumber(value);
  return typeof value === "number" && value >= NOISE ? `+${text}` : text;
}

export function formatCount(value: number | null | undefined): string {
  return typeof value === "number" ? value.toLocaleString("en") : MISSING;
}

/** [low, high], or nothing where there is no interval. */
export function formatInterval(low: number | null | undefined, high: number | null | undefined, signed = false): string {
  if (typeof low !== "number" || typeof high !== "number") return "";
  const format = signed ? formatDifference : formatNumber;
  return `[${format(low)}, ${format(high)}]`;
}

export function formatP(value: number | null | undefined): string {
  if (typeof value !== "number") return MISSING;
  return value < 0.0001 ? "< 0.0001" : value.toFixed(4);
}

/** 0.3 s, 42 s, 3 min 05 s, 2 h 10 min. */
export function formatSeconds(value: number | null | undefined): string {
  if (typeof value !== "number") return MISSING;
  if (value < 10) return `${value.toFixed(1)} s`;
  const whole = Math.round(value);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
  return `${Math.floor(whole / 3600)} h ${String(Math.floor((whole % 3600) / 60)).padStart(2, "0")} min`;
}

/** The time of day in the reader's zone, with the date: 1 Dec 2026, 00:25. */
export function formatTime(iso: string | null | undefined): string {
  const time = iso ? new Date(iso) : null;
  if (!time || Number.isNaN(time.getTime())) return MISSING;
  return time.toLocaleString("en-GB", { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" });
}

/** The checkpoint's name in a run's name: `step-0809-5acd7fa7/f0e3...` -> `step-0809`. */
export function checkpointOf(run: string | null | undefined): string {
  return (run ?? "").replace(/\/[^/]*$/, "").replace(/-[0-9a-f]{8}$/, "");
}

/** A key of a record as words: `scale_id` -> `scale id`. */
export function wordsOf(name: string): string {
  return name.replaceAll("_", " ");
}

/** The metric's label, or its name as words where the server gave none. */
export function labelOf(name: string, about: { name: string; label: string }[] | undefined): string {
  return about?.find((metric) => metric.name === name)?.label ?? wordsOf(name);
}
