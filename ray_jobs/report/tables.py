"""The verdict's numbers as rows of text, and where its intervals lie."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ray_jobs.contract.artifacts import Comparison, LimitCheck, Summary
from ray_jobs.contract.metric_names import METRICS
from ray_jobs.inputs.display_text import name
from ray_jobs.report.numbers import NONE, choose_decimals, format_count, format_interval, format_number, format_p

WIDTH = 120.0  # of the drawing of an interval
OUTCOME_WORDS = {
    "PASS": ("✓ PASS", "pass"),
    "FAIL": ("✕ FAIL", "fail"),
    "INCONCLUSIVE": ("? INCONCLUSIVE", "unsure"),
    "INCOMPLETE": ("… INCOMPLETE", "missing"),
}
MOST_ROWS = 24


@dataclass(frozen=True)
class IntervalDrawing:
    """Places in a drawing `WIDTH` wide, no difference in its middle."""

    low: float
    high: float
    at: float
    margin: float


@dataclass(frozen=True)
class Row:
    """A metric's line in the table; all texts ready to show, `below` smaller under the cell of the same column.

    `hint` is what would decide it. `way` is +1 where more is better, -1 where less is, and 0.
    """

    metric: str
    unit: str
    way: int
    word: str
    tone: str
    cells: dict[str, str]
    below: dict[str, str] = field(default_factory=dict)
    hint: str = ""
    drawn: IntervalDrawing | None = None


def direction_of(metric: str, summary: Summary | None) -> int:
    """+1 when more is better, -1 when less is, 0 for neither."""
    return summary.direction if summary else METRICS.get(metric, 0)


def build_comparison_rows(comparisons: Iterable[Comparison], summaries: Mapping[str, Summary]) -> list[Row]:
    """The comparisons, in their order."""
    rows = []
    for one in comparisons:
        places = choose_decimals(one.baseline, one.candidate, one.margin)
        reach = (one.low, one.high)
        cells = {
            "baseline": format_number(one.baseline, places),
            "candidate": format_number(one.candidate, places),
            "difference": format_number(one.difference, places, sign=True),
            "p" if one.advisory else "p after Holm": format_p(one.p_worse if one.p_holm is None else one.p_holm),
            "margin": NONE if one.advisory else format_number(one.margin, places),
            "detectable": format_number(one.detectable, places),
            "images": f"{one.n:,}",
            "method": name(one.method) or NONE,
        }
        below = {"difference": format_interval(*reach, places, sign=True)} if None not in reach else {}
        worst = (one.worst_low, one.worst_high)
        if not one.advisory and None not in worst and worst != reach:
            below["difference"] = f"{below.get('difference', '')}\n({format_interval(*worst, places, sign=True)})"
        if one.clusters:
            below["method"] = f"{one.clusters:,} clusters"
        direction = direction_of(one.metric, summaries.get(one.metric))
        said = _describe_change(one, direction) if one.advisory else OUTCOME_WORDS[one.outcome]
        row = _build_row(one.metric, summaries, said, cells, below)
        rows.append(replace(row, hint="" if one.advisory else _format_hint(one.decisive_n), drawn=_draw_interval(one)))
    return rows


def build_limit_rows(checks: Iterable[LimitCheck], summaries: Mapping[str, Summary]) -> list[Row]:
    rows = []
    for one in checks:
        places = choose_decimals(one.value, one.limit)
        cells = {
            "limit": f"{'at most' if one.kind == 'max' else 'at least'} {format_number(one.limit, places)}",
            "value": format_number(one.value, places),
            "p after Holm": format_p(one.p_worse if one.p_holm is None else one.p_holm),
            "images": format_count(one.n),
            "method": name(one.method) or NONE,
        }
        below = {"value": format_interval(one.low, one.high, places)} if None not in (one.low, one.high) else {}
        rows.append(
            replace(
                _build_row(one.metric, summaries, OUTCOME_WORDS[one.outcome], cells, below),
                hint=_format_hint(one.decisive_n),
            )
        )
    return rows


def build_summary_rows(summaries: Mapping[str, Summary]) -> list[Row]:
    """What was measured of the candidate alone: mean, 95% interval, quantiles."""
    rows = []
    for metric, one in summaries.items():
        places = choose_decimals(one.mean, *one.quantiles.values())
        cells = {
            "mean": format_number(one.mean, places),
            "95% interval": format_interval(one.low, one.high, places),
            **{f"{name(share)}%": format_number(value, places) for share, value in one.quantiles.items()},
            "images": format_count(one.n),
            "missing": format_count(one.expected - one.n) if one.expected > one.n else NONE,
        }
        rows.append(_build_row(metric, summaries, ("", "plain"), cells, {}))
    return rows


def _build_row(
    metric: str,
    summaries: Mapping[str, Summary],
    said: tuple[str, str],
    cells: dict[str, str],
    below: dict[str, str],
) -> Row:
    summary = summaries.get(metric)
    return Row(name(metric), unit_of(metric, summary), direction_of(metric, summary), *said, cells=cells, below=below)


def unit_of(metric: str, summary: Summary | None) -> str:
    """The unit as it is shown beside the metric's name: empty where that says it."""
    return name(summary.unit) if summary and summary.unit != metric else ""


def list_columns(rows: Sequence[Row]) -> list[str]:
    """The columns that say something in some row, in order."""
    found = dict.fromkeys(column for row in rows for column in row.cells)
    return [column for column in found if any(row.cells.get(column, NONE) != NONE for row in rows)]


def flatten_details(details: Mapping[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """Nested details as tables of two columns by the name of their topmost key, each of at most `MOST_ROWS` rows."""
    tables: dict[str, list[tuple[str, str]]] = {}
    for key, value in details.items():
        nested = isinstance(value, Mapping | list)
        rows = list(_iterate_leaves(value)) if nested else [(name(key), _format_value(value))]
        cut = [("", f"and {len(rows) - MOST_ROWS} more, in scores.json")] if len(rows) > MOST_ROWS else []
        tables.setdefault(name(key) if nested else "", []).extend([*rows[:MOST_ROWS], *cut])
    return {title: rows for title, rows in tables.items() if rows}


def _iterate_leaves(value: Any, path: tuple[str, ...] = ()) -> Iterable[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield from _iterate_leaves(below, (*path, str(key)))
    elif isinstance(value, list):  # of rows: all but their last cell say what it is of
        for row in value:
            named = row.items() if isinstance(row, Mapping) else [("", row)]
            cells = [f"{key} {_format_value(cell)}".strip() for key, cell in named] or [NONE]
            yield name(", ".join(cells[:-1])), name(cells[-1])
    else:
        yield name(" · ".join(path)), _format_value(value)


def _format_value(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: NONE}[value]
    if isinstance(value, int):
        return format_number(value, 0)
    if isinstance(value, float):
        return format_number(value, choose_decimals(value))
    return name(str(value))


def _format_hint(decisive: int | None) -> str:
    return f"{decisive:,} images would decide" if decisive else ""


def _describe_change(one: Comparison, direction: int) -> tuple[str, str]:
    """An advisory comparison in a word: it has no verdict."""
    up, down = ("better", "worse") if direction else ("higher", "lower")
    if one.low is not None and one.low > 0:
        return f"▲ {up}", "plain"
    if one.high is not None and one.high < 0:
        return f"▼ {down}", "plain"
    return ("no clear difference" if one.low is not None else "too few images"), "missing"


def _draw_interval(one: Comparison) -> IntervalDrawing | None:
    if one.difference is None or one.low is None or one.high is None:
        return None
    margin = 0.0 if one.advisory else one.margin
    reach = max(abs(one.low), abs(one.high), margin) * 1.08
    if not 0 < reach < float("inf"):
        return None
    low, high, at, edge = (WIDTH / 2 * (1 + value / reach) for value in (one.low, one.high, one.difference, -margin))
    return IntervalDrawing(round(low, 1), round(high, 1), round(at, 1), round(edge, 1))
