// One image with all that is known of it: full captions, references, every metric, the judge's words.
import { useEffect, useRef } from "preact/hooks";
import type { MetricFacts, PairRow } from "../shell/answers";
import { formatDifference, formatNumber, labelOf } from "../shell/format";
import { Caption } from "./caption";
import { Picture } from "./picture";
import { piecesOf, toneOfDifference } from "./row";

function Sides(props: { row: PairRow; names: [string | null, string] }) {
  const { row } = props;
  const [left, right] = piecesOf(row);
  return (
    <div class="sides">
      {row.left && <section><h3>{props.names[0]}</h3><Caption side={row.left} pieces={left} short={false} />
        {row.judge?.left && <p class="judge"><span class="muted">judge: </span><bdi>{row.judge.left}</bdi></p>}</section>}
      <section><h3>{props.names[1]}</h3><Caption side={row.right} pieces={right} short={false} />
        {row.judge?.right && <p class="judge"><span class="muted">judge: </span><bdi>{row.judge.right}</bdi></p>}</section>
    </div>
  );
}

export function OpenedImage(props: {
  row: PairRow; place: string; metrics: string[]; about: MetricFacts[] | undefined; names: [string | null, string];
  close: () => void; move: (by: number) => void;
}) {
  const { row } = props;
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  const measured = props.metrics.filter((name) => row.metrics[name] && (row.metrics[name]!.left !== null || row.metrics[name]!.right !== null));
  return (
    <dialog ref={dialog} class="opened" aria-label={`Image ${row.key}`} onClose={props.close}
      onClick={(event) => event.target === dialog.current && dialog.current?.close()}>
      <header>
        <h2><bdi>{row.key}</bdi></h2>
        <span class="muted">{props.place}</span>
        <button type="button" class="button" aria-label="Image before" onClick={() => props.move(-1)}>{"\u2190"}</button>
        <button type="button" class="button" aria-label="Next image" onClick={() => props.move(1)}>{"\u2192"}</button>
        <button type="button" class="button" onClick={() => dialog.current?.close()}>Close</button>
      </header>
      <div class="opened-body" tabIndex={0}>
        <div class="figure">
          <Picture row={row} size="full" />
          <p class="muted">{row.width && row.height ? `${row.width} \u00d7 ${row.height}` : ""}{row.label ? <> label <bdi>{row.label}</bdi></> : null}</p>
        </div>
        <div class="words">
          <Sides row={row} names={props.names} />
          {row.references.length > 0 && (
            <section><h3>References</h3><ul class="all-references">{row.references.slice(0, 50).map((reference) => <li dir="auto">{reference}</li>)}</ul></section>
          )}
        </div>
        <table class="scores">
          <caption class="unseen">Metrics of this image</caption>
          <thead><tr><th scope="col">Metric</th>{row.left && <th scope="col" class="n">{props.names[0]}</th>}<th scope="col" class="n">{props.names[1]}</th>{row.left && <th scope="col" class="n">Difference</th>}</tr></thead>
          <tbody>
            {measured.map((name) => {
              const values = row.metrics[name]!;
              const facts = props.about?.find((metric) => metric.name === name);
              return (
                <tr>
                  <th scope="row">{labelOf(name, props.about)}</th>
                  {row.left && <td class="n">{formatNumber(values.left)}</td>}
                  <td class="n">{formatNumber(values.right)}</td>
                  {row.left && <td class={`n ${toneOfDifference(values.difference, facts)}`}>{values.difference ? formatDifference(values.difference) : values.difference === 0 ? "0" : "\u2013"}</td>}
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </dialog>
  );
}
