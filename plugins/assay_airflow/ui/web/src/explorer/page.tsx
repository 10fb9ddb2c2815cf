// Explorer: the images of a pair of runs, one page of them at a time; the ten worst are the first view.
import { useEffect, useRef } from "preact/hooks";
import type { Histogram, Pairs } from "../shell/answers";
import { pathWith, useAnswer } from "../shell/api";
import { checkpointOf, formatCount } from "../shell/format";
import { focusSearch, useKeys } from "../shell/keyboard";
import { Link } from "../shell/link";
import { NewTab } from "../shell/new_tab";
import { Empty, ErrorLine, Waiting } from "../shell/notices";
import { changeState } from "../shell/query";
import { Choice } from "../shell/text_field";
import { Controls } from "./controls";
import { OpenedImage } from "./opened";
import { PairItem } from "./row";
import { filtersOf, PAGE_SIZES, stateOf } from "./state";

const BINS = 40;

export function ExplorerPage(props: { query: URLSearchParams }) {
  const state = stateOf(props.query);
  const filters = filtersOf(state);
  const known = Boolean(state.right || state.dagRun);
  const answer = useAnswer<Pairs>(known ? pathWith("api/pairs", { ...filters, offset: state.offset, limit: state.limit }) : null);
  const pairs = answer.value;
  const metric = state.sort || pairs?.sort || pairs?.metrics[0] || "";
  const by = state.by || pairs?.by || (pairs?.left ? "difference" : "right");
  // The histogram keeps its shape while a range on its own metric is chosen: that range is drawn on it.
  const others = (bounds: string[]) => bounds.filter((bound) => !bound.startsWith(`${metric}:`));
  const histogram = useAnswer<Histogram>(
    known && metric && metric !== "key"
      ? pathWith("api/histogram", { ...filters, order: "", sort: "", metric_min: others(state.least), metric_max: others(state.most), metric, by, bins: BINS })
      : null,
  );
  const rows = pairs?.rows ?? [];
  const at = Math.min(state.at, Math.max(0, rows.length - 1));
  const last = Math.max(0, Math.ceil((pairs?.total ?? 0) / state.limit) - 1) * state.limit;
  const place = useRef<"first" | "last">("first"); // where the keyboard stands on the page that comes

  const turn = (by: number) => {
    const offset = Math.max(0, Math.min(last, state.offset + by * state.limit));
    if (offset !== state.offset) changeState({ offset: offset ? String(offset) : null, at: null, open: null });
    return offset !== state.offset;
  };
  const goToRow = (index: number, open = Boolean(state.opened)) => {
    changeState({ at: index ? String(index) : null, open: open ? rows[index]?.key : null }, true);
    if (!open) window.requestAnimationFrame(() => document.querySelector(`li[data-index="${index}"]`)?.scrollIntoView({ block: "nearest" }));
  };
  const move = (step: number) => {
    const next = at + step;
    if (next >= 0 && next < rows.length) goToRow(next);
    else if (!state.opened && turn(step)) place.current = step > 0 ? "first" : "last";
  };
  useEffect(() => {
    if (pairs && place.current === "last") changeState({ at: String(rows.length - 1) }, true);
    place.current = "first";
  }, [pairs]);
  const csv = pathWith("api/pairs.csv", filters);
  useKeys([
    { keys: ["j", "ArrowDown"], does: "next image", run: () => move(1) },
    { keys: ["k", "ArrowUp"], does: "image before", run: () => move(-1) },
    { keys: ["Enter"], does: "open the image", run: () => !state.opened && rows[at] && goToRow(at, true) },
    { keys: ["ArrowRight", "n"], does: "next page, or next image while one is open", run: () => (state.opened ? move(1) : turn(1)) },
    { keys: ["ArrowLeft", "p"], does: "page before, or image before", run: () => (state.opened ? move(-1) : turn(-1)) },
    { keys: ["Escape"], does: "close the image", run: () => state.opened && changeState({ open: null }, true) },
    { keys: ["/"], does: "search", run: focusSearch },
  ]);

  if (!known) return <Empty>Choose a run on the page <Link to={{ page: "checkpoints" }}>Checkpoints</Link>.</Empty>;
  const names: [string | null, string] = [pairs?.left ? checkpointOf(pairs.left) : null, checkpointOf(pairs?.right ?? state.right)];
  const opened = rows.find((row) => row.key === state.opened);
  const end = Math.min(pairs?.total ?? 0, state.offset + rows.length);
  return (
    <>
      <div class="title">
        <h1>{names[0] && <><span class="left-name">{names[0]}</span> {"\u2192"} </>}<span class="right-name">{names[1] || "Images"}</span></h1>
        {pairs?.left && <Link to={{ page: "explorer", left: pairs.right, right: pairs.left }} class="quiet">Swap sides</Link>}
        {pairs?.left && <Link to={{ page: "compare", left: pairs.left, right: pairs.right }} class="quiet">Compare metrics</Link>}
        {pairs && <Link to={{ page: "run", run: pairs.right }} class="quiet">The run {names[1]}</Link>}
        <NewTab href={csv} class="quiet">CSV</NewTab>
      </div>
      <Controls state={state} pairs={pairs} metric={metric} by={by} histogram={histogram} />
      {answer.error && <ErrorLine {...answer} error={answer.error} />}
      {!pairs && !answer.error && <Waiting what="images" />}
      {pairs && (
        <>
          <div class="panel-head">
            <h2 aria-live="polite">{pairs.total ? `${formatCount(state.offset + 1)} to ${formatCount(end)} of ${formatCount(pairs.total)} images` : "No image fits these filters"}</h2>
            <div class="pager">
              <button type="button" class="button" disabled={state.offset === 0} onClick={() => turn(-1)}>{"\u2190"} Before</button>
              <button type="button" class="button" disabled={state.offset >= last} onClick={() => turn(1)}>Next {"\u2192"}</button>
              <Choice label="A page" value={String(state.limit)} options={[...new Set([...PAGE_SIZES, state.limit])].sort((a, b) => a - b).map((size) => [String(size), String(size)])} change={(limit) => changeState({ limit: limit === "10" ? null : limit, offset: null, at: null })} />
            </div>
          </div>
          <ol class={answer.loading ? "pairs loading" : "pairs"} aria-busy={answer.loading} start={state.offset + 1}>
            {rows.map((row, index) => (
              <PairItem key={row.key} row={row} index={index} current={index === at} metric={metric} about={pairs.about} names={names} open={() => goToRow(index, true)} />
            ))}
          </ol>
        </>
      )}
      {opened && (
        <OpenedImage row={opened} place={`${formatCount(state.offset + rows.indexOf(opened) + 1)} of ${formatCount(pairs?.total)}`} metrics={pairs?.metrics ?? []} about={pairs?.about} names={names}
          close={() => changeState({ open: null }, true)} move={move} />
      )}
    </>
  );
}
