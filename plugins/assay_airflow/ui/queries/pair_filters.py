"""Turns the parameters of `api/pairs` into conditions and an order over a table of two runs. Values are bound."""

import math
from dataclasses import dataclass, field
from typing import Any

from assay_airflow.ui.answers import refuse
from assay_airflow.ui.queries.pair_table import PairTable
from ray_jobs.inputs.names import printable

STATUSES = ("ok", "failed", "rejected", "truncated", "judge_missing")
MOST_BOUNDS = 40
MOST_QUERY = 500  # characters of a text to search for


@dataclass(frozen=True)
class Choice:
    """What a page asks for: which value of which metric, in which order, and which images."""

    sort: str
    by: str
    order: str
    text: str = ""
    status: str = ""
    label: str | None = None
    bounds: tuple[tuple[str, str, float], ...] = ()


@dataclass
class Conditions:
    """Conditions in SQL, with the values that they name. `needs_texts`: one of them looks at the captions."""

    sql: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    needs_texts: bool = False

    def where(self) -> str:
        return f"WHERE {' AND '.join(self.sql)}" if self.sql else ""


def parse_bounds(texts: list[str], table: PairTable, sign: str) -> list[tuple[str, str, float]]:
    """Returns (metric, sign, number) of each NAME:x. Raises HTTPException 400 for another text."""
    bounds = []
    for text in texts[:MOST_BOUNDS]:
        name, _, number = text.rpartition(":")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if name not in table.metrics or not math.isfinite(value):
            raise refuse(400, f"bound {printable(text, 100)!r}: write it as METRIC:number, with a metric of the run")
        bounds.append((name, sign, value))
    return bounds


def value_sql(table: PairTable, metric: str, by: str) -> str:
    """Returns the value of a metric that `by` names, as SQL."""
    place = table.metrics.index(metric)
    return {"left": f"l{place}", "right": f"r{place}"}.get(by, f"(r{place} - l{place})")


def build_conditions(table: PairTable, choice: Choice) -> Conditions:
    """Returns the conditions for the images that a choice asks for."""
    conditions = Conditions()
    if choice.text:
        conditions.needs_texts = True
        conditions.values["text"] = choice.text.lower()
        places = ("right_caption", "left_caption", "image_id", "label")
        conditions.sql.append(f"({' OR '.join(f'contains(lower({place}), $text)' for place in places)})")
    if choice.status == "ok":
        conditions.sql.append("right_status = 'ok' AND coalesce(left_status, 'ok') = 'ok'")
    elif choice.status:
        conditions.sql.append("(right_status = $status OR left_status = $status)")
        conditions.values["status"] = choice.status
    if choice.label is not None:
        conditions.sql.append("label = $label")
        conditions.values["label"] = choice.label
    for number, (metric, sign, bound) in enumerate(choice.bounds):
        conditions.sql.append(f"{value_sql(table, metric, choice.by)} {sign} $bound{number}")
        conditions.values[f"bound{number}"] = bound
    return conditions


def order_sql(table: PairTable, choice: Choice, higher_is_better: bool | None) -> str:
    """Returns the order of a choice, as SQL. Images without the value come last; ties keep the order of the parts."""
    if choice.sort == "key":
        return f"n {'DESC' if choice.order == 'desc' else 'ASC'}"
    value = value_sql(table, choice.sort, choice.by)
    if choice.order in ("asc", "desc"):
        return f"{value} {choice.order.upper()} NULLS LAST, n"
    if higher_is_better is None and choice.by == "difference":
        return f"abs({value}) DESC NULLS LAST, n"
    return f"{value} {'DESC' if higher_is_better is False else 'ASC'} NULLS LAST, n"
