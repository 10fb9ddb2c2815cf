// Sorting and filters of the explorer; each is a parameter of the URL.
import type { Histogram, MetricFacts, Pairs } from "../shell/answers";
import type { Answer } from "../shell/api";
import { labelOf, wordsOf } from "../shell/format";
import { changeState } from "../shell/query";
import { Choice, TextField } from "../shell/text_field";
import { HistogramChart } from "../charts/histogram";
import { boundOf, type ExplorerState, STATUSES, withBound } from "./state";

export function Controls(props: { state: ExplorerState; pairs: Pairs | null; metric: string; by: string; histogram: Answer<Histogram> }) {
  const { state, pairs, metric, by } = props;
  const about: MetricFacts[] | undefined = pairs?.about;
  const change = (parameters: Record<string, string | string[] | null>, replace = false) => changeState({ ...parameters, offset: null, at: null, open: null }, replace);
  const label = metric === "key" ? "name" : labelOf(metric, about);
  const range = { least: boundOf(state.least, metric), most: boundOf(state.most, metric) };
  const bound = (side: "metric_min" | "metric_max", bounds: string[]) => (text: string) => {
    const value = text === "" ? null : Number(text);
    if (value === null || Number.isFinite(value)) change({ [side]: withBound(bounds, metric, value) }, true);
  };
  const filtered = state.text || state.label || state.status || state.least.length || state.most.length;
  const elsewhere = [...state.least, ...state.most].filter((each) => !each.startsWith(`${metric}:`));
  return (
    <form class="explorer-controls" onSubmit={(event) => event.preventDefault()}>
      <div class="filters">
        <Choice label="Sort by" value={metric} options={[...(pairs?.metrics ?? (metric ? [metric] : [])).map((name): [string, string] => [name, labelOf(name, about)]), ["key", "name"]]}
          change={(sort) => change({ sort })} />
        {state.left || pairs?.left ? (
          <Choice label="Value" value={by} options={[["difference", "difference"], ["left", "left"], ["right", "right"]]} change={(value) => change({ by: value, metric_min: null, metric_max: null })} />
        ) : null}
        <Choice label="Order" value={state.order || "worst"} options={[["worst", "worst first"], ["asc", "smallest first"], ["desc", "largest first"]]} change={(order) => change({ order: order === "worst" ? null : order })} />
        <TextField label="Search" type="search" value={state.text} placeholder="in captions, references, names" change={(q) => change({ q }, true)} />
        <TextField label="Label" value={state.label} change={(value) => change({ label: value }, true)} />
        <Choice label="Status" value={state.status} options={[["", "any"], ...STATUSES.map((status): [string, string] => [status, wordsOf(status)])]} change={(status) => change({ status })} />
      </div>
      {metric !== "key" && (
        <div class="range">
          <div class="chart">
            <p class="muted" id="range-title">{by === "difference" ? `Differences of ${label}` : `${label}, ${by}`}: drag to filter</p>
            {props.histogram.value && props.histogram.value.metric === metric
              ? <HistogramChart histogram={props.histogram.value} range={range} label={label} select={({ least, most }) => change({ metric_min: withBound(state.least, metric, least), metric_max: withBound(state.most, metric, most) })} />
              : <p class="muted" role="status">{props.histogram.error ? props.histogram.error.message : "\u2026"}</p>}
          </div>
          <div class="bounds" role="group" aria-labelledby="range-title">
            <TextField label="From" type="number" value={range.least === null ? "" : String(range.least)} change={bound("metric_min", state.least)} />
            <TextField label="To" type="number" value={range.most === null ? "" : String(range.most)} change={bound("metric_max", state.most)} />
          </div>
        </div>
      )}
      {filtered ? (
        <p class="active-filters">
          {elsewhere.length > 0 && <span class="muted">also bounded: {elsewhere.join(", ")} </span>}
          <button type="button" class="button small" onClick={() => change({ q: null, label: null, status: null, metric_min: null, metric_max: null })}>Clear all filters</button>
        </p>
      ) : null}
    </form>
  );
}
