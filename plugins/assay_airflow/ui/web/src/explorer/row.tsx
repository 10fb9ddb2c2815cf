// One image of the list: picture, key, references, both captions, and the value that the list is sorted by.
import type { MetricFacts, PairRow } from "../shell/answers";
import { formatDifference, formatNumber, labelOf } from "../shell/format";
import { Caption } from "./caption";
import { Picture } from "./picture";
import { diffWords, type Piece } from "./word_diff";

/** worse, better or plain: what a difference means in the metric's direction. */
export function toneOfDifference(difference: number | null | undefined, metric: MetricFacts | undefined): string {
  if (!difference || typeof metric?.higher_is_better !== "boolean") return "plain";
  return difference > 0 === metric.higher_is_better ? "pass" : "fail";
}

export function piecesOf(row: PairRow): [Piece[] | null, Piece[] | null] {
  const [left, right] = [row.left?.caption, row.right?.caption];
  return typeof left === "string" && typeof right === "string" ? diffWords(left, right) : [null, null];
}

export function Score(props: { row: PairRow; metric: string; about: MetricFacts[] | undefined }) {
  const values = props.row.metrics[props.metric];
  if (!values) return null;
  const facts = props.about?.find((metric) => metric.name === props.metric);
  return (
    <p class="score">
      <span class="muted">{labelOf(props.metric, props.about)}</span>{" "}
      {typeof values.difference === "number" && <b class={toneOfDifference(values.difference, facts)}>{formatDifference(values.difference)}</b>}{" "}
      <span class="muted">{typeof values.left === "number" ? `${formatNumber(values.left)} \u2192 ` : ""}{formatNumber(values.right)}</span>
    </p>
  );
}

export function PairItem(props: {
  row: PairRow; index: number; current: boolean; metric: string; about: MetricFacts[] | undefined; names: [string | null, string]; open: () => void;
}) {
  const { row } = props;
  const [left, right] = piecesOf(row);
  return (
    <li class={props.current ? "pair current" : "pair"} aria-current={props.current ? "true" : undefined} data-index={props.index}>
      <button type="button" class="thumb" onClick={props.open} aria-label={`Open image ${row.key}`}><Picture row={row} size="thumb" /></button>
      <div class="about">
        <p class="key"><bdi>{row.key}</bdi></p>
        {row.label && <p class="muted">label <bdi>{row.label}</bdi></p>}
        {props.metric !== "key" && <Score row={row} metric={props.metric} about={props.about} />}
        {row.references.length > 0 && (
          <p class="references muted" dir="auto">
            {row.references[0]!.slice(0, 300)}{row.references[0]!.length > 300 ? "\u2026" : ""}
            {row.references.length > 1 && ` (+${row.references.length - 1} more)`}
          </p>
        )}
      </div>
      {row.left && <div class="side left"><h3>{props.names[0]}</h3><Caption side={row.left} pieces={left} short /></div>}
      <div class={row.left ? "side right" : "side right alone"}><h3>{props.names[1]}</h3><Caption side={row.right} pieces={right} short /></div>
    </li>
  );
}
