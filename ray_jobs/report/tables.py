"""Build the report's tables: the verdict's numbers as rows of text, with drawings of their intervals.

`report.page` calls this.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ray_jobs.contract.artifacts import Comparison, LimitCheck, Summary
from ray_jobs.contract.metric_names import METRICS
from ray_jobs.inputs.display_text import sanitise_name
from ray_jobs.report.intervals import IntervalDrawing, draw_interval, find_reaches, scale_of
from ray_jobs.report.numbers import NONE, choose_decimals, format_count, format_interval, format_number, format_p

OUTCOME_WORDS = {
    "PASS": ("✓ PASS", "pass"),
    "FAIL": ("✕ FAIL", "fail"),
    "INCONCLUSIVE": ("? INCONCLUSIVE", "unsure"),
    "INCOMPLETE": ("… INCOMPLETE", "missing"),
}
MOST_ROWS = 24


@dataclass(frozen=True)
class Row:
    """A metric's row. All texts are ready to show. Texts in `below` are small and stand under the cell of their column.

    `hint` says how many images would decide. `direction` is +1 when more is better, -1 when less is better, else 0.
    `change` is +1 or -1 for a clear change up or down in the sense of the difference, else 0.
    """

    metric: str
    unit: str
    direction: int
    word: str
    tone: str
    cells: dict[str, str]
    below: dict[str, str] = field(default_factory=dict)
    hint: str = ""
    interval: IntervalDrawing | None = None
    method: str = ""
    change: int = 0


def direction_of(metric: str, summary: Summary | None) -> int:
    """+1 when more is better, -1 when less is better, 0 for neither."""
    return summary.direction if summary else METRICS.get(metric, 0)


def build_comparison_rows(
    comparisons: Iterable[Comparison], summaries: Mapping[str, Summary], reaches: Mapping[str, float] | None = None
) -> list[Row]:
    """One row per comparison, in their order. `reaches` has the ends of the drawings by unit."""
    comparisons, rows = list(comparisons), []
    reaches = find_reaches(comparisons, summaries) if reaches is None else reaches
    for comparison in comparisons:
        places = choose_decimals(comparison.baseline, comparison.candidate, comparison.margin)
        reach = (comparison.low, comparison.high)
        cells = {
            "baseline": format_number(comparison.baseline, places),
            "candidate": format_number(comparison.candidate, places),
            "difference": format_number(comparison.difference, places, sign=True),
            "p" if comparison.advisory else "p after Holm": format_p(
                comparison.p_worse if comparison.p_holm is None else comparison.p_holm
            ),
            "margin": NONE if comparison.advisory else format_number(comparison.margin, places),
            "detectable": format_number(comparison.detectable, places),
            "images": f"{comparison.n:,}",
        }
        below = {"difference": format_interval(*reach, places, sign=True)} if None not in reach else {}
        worst = (comparison.worst_low, comparison.worst_high)
        extremes = format_interval(*worst, places, sign=True)
        shown = {
            below.get("difference"),
            format_interval(comparison.difference, comparison.difference, places, sign=True),
        }
        if not comparison.advisory and None not in worst and extremes not in shown:  # else it repeats the line above
            below["difference"] = f"{below.get('difference', '')}\n({extremes})"
        if comparison.clusters:
            below["images"] = f"{comparison.clusters:,} clusters"
        direction = direction_of(comparison.metric, summaries.get(comparison.metric))
        words = _describe_change(comparison, direction) if comparison.advisory else OUTCOME_WORDS[comparison.outcome]
        row = _build_row(comparison.metric, summaries, words, cells, below)
        rows.append(
            replace(
                row,
                hint="" if comparison.advisory else _format_hint(comparison.decisive_n),
                interval=draw_interval(comparison, reaches.get(scale_of(comparison.metric, summaries))),
                method=sanitise_name(comparison.method),
                change=_find_change(comparison),
            )
        )
    return rows


def build_limit_rows(checks: Iterable[LimitCheck], summaries: Mapping[str, Summary]) -> list[Row]:
    rows = []
    for check in checks:
        places = choose_decimals(check.value, check.limit)
        cells = {
            "limit": f"{'at most' if check.kind == 'max' else 'at least'} {format_number(check.limit, places)}",
            "value": format_number(check.value, places),
            "p after Holm": format_p(check.p_worse if check.p_holm is None else check.p_holm),
            "images": format_count(check.n),
        }
        below = {"value": format_interval(check.low, check.high, places)} if None not in (check.low, check.high) else {}
        rows.append(
            replace(
                _build_row(check.metric, summaries, OUTCOME_WORDS[check.outcome], cells, below),
                hint=_format_hint(check.decisive_n),
                method=sanitise_name(check.method),
            )
        )
    return rows


def build_summary_rows(summaries: Mapping[str, Summary]) -> list[Row]:
    """One row per metric of the candidate: mean, 95% interval, quantiles, number of images."""
    rows = []
    for metric, summary in summaries.items():
        places = choose_decimals(summary.mean, *summary.quantiles.values())
        cells = {
            "mean": format_number(summary.mean, places),
            "95% interval": format_interval(summary.low, summary.high, places),
            **{f"{sanitise_name(share)}%": format_number(value, places) for share, value in summary.quantiles.items()},
            "images": format_count(summary.n),
            "missing": format_count(summary.expected - summary.n) if summary.expected > summary.n else NONE,
        }
        rows.append(_build_row(metric, summaries, ("", "plain"), cells, {}))
    return rows


def _build_row(
    metric: str,
    summaries: Mapping[str, Summary],
    words: tuple[str, str],
    cells: dict[str, str],
    below: dict[str, str],
) -> Row:
    summary = summaries.get(metric)
    return Row(
        sanitise_name(metric), unit_of(metric, summary), direction_of(metric, summary), *words, cells=cells, below=below
    )


def unit_of(metric: str, summary: Summary | None) -> str:
    """The unit as shown beside the metric's name; empty when the unit equals the name."""
    return sanitise_name(summary.unit) if summary and summary.unit != metric else ""


def list_columns(rows: Sequence[Row]) -> list[str]:
    """The columns with a value in at least one row, in order."""
    columns = dict.fromkeys(column for row in rows for column in row.cells)
    return [column for column in columns if any(row.cells.get(column, NONE) != NONE for row in rows)]


def flatten_details(details: Mapping[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """Nested details as tables of two columns, by their topmost key. A key gives a table at most `MOST_ROWS` rows."""
    tables: dict[str, list[tuple[str, str]]] = {}
    for key, value in details.items():
        nested = isinstance(value, Mapping | list)
        rows = list(_iterate_leaves(value)) if nested else [(sanitise_name(key), _format_value(value))]
        cut = [("", f"and {len(rows) - MOST_ROWS} more, in scores.json")] if len(rows) > MOST_ROWS else []
        tables.setdefault(sanitise_name(key) if nested else "", []).extend([*rows[:MOST_ROWS], *cut])
    return {title: rows for title, rows in tables.items() if rows}


def _iterate_leaves(value: Any, path: tuple[str, ...] = ()) -> Iterable[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield from _iterate_leaves(below, (*path, str(key)))
    elif isinstance(value, list):  # of rows: the last cell is the value, and the other cells name it
        for row in value:
            named = row.items() if isinstance(row, Mapping) else [("", row)]
            cells = [f"{key} {_format_value(cell)}".strip() for key, cell in named] or [NONE]
            yield sanitise_name(", ".join(cells[:-1])), sanitise_name(cells[-1])
    else:
        yield sanitise_name(" · ".join(path)), _format_value(value)


def _format_value(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: NONE}[value]
    if isinstance(value, int):
        return format_number(value, 0)
    if isinstance(value, float):
        return format_number(value, choose_decimals(value))
    return sanitise_name(str(value))


def _format_hint(decisive: int | None) -> str:
    return f"{decisive:,} images would decide" if decisive else ""


def _describe_change(comparison: Comparison, direction: int) -> tuple[str, str]:
    """(word, tone) for an advisory comparison, which has no outcome."""
    up, down = ("better", "worse") if direction else ("higher", "lower")
    if change := _find_change(comparison):
        return (f"▲ {up}" if change > 0 else f"▼ {down}"), "plain"
    return ("no clear difference" if comparison.low is not None else "too few images"), "missing"


def _find_change(comparison: Comparison) -> int:
    """+1 if the whole interval is above 0, -1 if it is below 0, else 0."""
    if comparison.low is not None and comparison.low > 0:
        return 1
    return -1 if comparison.high is not None and comparison.high < 0 else 0


def list_methods(rows: Iterable[Row]) -> list[str]:
    """The different methods of the rows, in their order. The page shows them as footnotes."""
    return list(dict.fromkeys(row.method for row in rows if row.method))
