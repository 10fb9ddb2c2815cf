"""Compares two runs metric by metric over the images that both have a value for, and over the slices of their labels.

A difference is signed as the gate signs it: positive means that the right run is better. The gate's own comparison is
shown where the left run is the right run's baseline. Elsewhere the interval is Student's, of the mean of the paired
differences, at the alpha of the right run's gate on each side; it is advisory.
"""

import math
from statistics import NormalDist
from typing import Any

from assay_airflow.ui.queries.checkpoint_rows import describe_outcome
from assay_airflow.ui.queries.database import fetch
from assay_airflow.ui.queries.pair_table import PairTable
from assay_airflow.ui.queries.run_parts import RunParts
from ray_jobs.contract.artifacts import Comparison
from ray_jobs.contract.metric_names import METRICS

MIN_IMAGES = 10  # below, no interval is stated, as in the gate
MOST_SLICES = 30
SECONDS = 30.0  # of one of the two queries, which look at every image
OTHER_SETTINGS = ("language", "label_hit")  # built-in metrics that a suite's settings change

Line = dict[str, Any]


def explain_left_out(left: RunParts, right: RunParts, metrics: list[str]) -> dict[str, str]:
    """Returns why a metric cannot be compared, by the metric's name."""
    known = left.record.metrics
    reasons = {name: "only one run has it" for name in metrics if name not in known}
    if left.record.scoring_id != right.record.scoring_id:
        for name in metrics:
            if name not in METRICS or name in OTHER_SETTINGS:
                reasons.setdefault(name, "measured with other settings, or by another judge")
    return reasons


def compare_metrics(left: RunParts, right: RunParts, table: PairTable, about: list[Line]) -> list[Line]:
    """Returns each metric of `about` with its paired difference. Those that gate have the same for each label."""
    names = [facts["name"] for facts in about]
    alpha = right.record.verdict.alpha
    deciding = [name for name, facts in zip(names, about, strict=True) if facts["gating"]]
    whole = _read_moments(table, names, "")[None]
    slices = _read_moments(table, deciding, "label") if deciding else {}
    gate = _find_gate_lines(left, right)
    lines = []
    for place, facts in enumerate(about):
        name = facts["name"]
        line = facts | _summarise(whole[place], facts, alpha)
        if comparison := gate.get(name):
            line |= _describe_gate_line(comparison)
        line["slices"] = [
            {"name": "label", "value": label, **_summarise(moments[deciding.index(name)], facts, alpha)}
            for label, moments in slices.items()
            if name in deciding and moments[deciding.index(name)][0]
        ]
        lines.append(line)
    return lines


def _find_gate_lines(left: RunParts, right: RunParts) -> dict[str, Comparison]:
    """Returns the comparisons of the right run's gate by metric, if the left run is its baseline."""
    verdict = right.record.verdict
    if verdict.baseline is None or verdict.baseline.run_id != left.record.run_id:
        return {}
    return {line.metric: line for line in verdict.comparisons if line.against == "baseline" and line.n}


def _describe_gate_line(comparison: Comparison) -> Line:
    return {
        "left": comparison.baseline,
        "right": comparison.candidate,
        "difference": comparison.difference,
        "low": comparison.low,
        "high": comparison.high,
        "n": comparison.n,
        "outcome": describe_outcome(comparison),
        "method": comparison.method,
    }


Moments = tuple[int, float | None, float | None, float | None, float | None]  # n, left, right, difference, variance


def _read_moments(table: PairTable, names: list[str], slice_by: str) -> dict[str | None, list[Moments]]:
    """Returns the moments of each metric, over all images or by the values of a column, the most frequent first."""
    columns, sums = [slice_by or "NULL AS nothing"], []
    for place in map(table.metrics.index, names):
        both = f"FILTER (WHERE d{place} IS NOT NULL)"
        columns += [f"l{place}", f"r{place}", f"r{place} - l{place} AS d{place}"]
        sums += [
            f"count(d{place})",
            f"avg(l{place}) {both}",
            f"avg(r{place}) {both}",
            f"avg(d{place})",
            f"var_samp(d{place})",
        ]
    key = slice_by or "NULL"
    group = f"WHERE {slice_by} IS NOT NULL GROUP BY {slice_by} ORDER BY count(*) DESC, 1 LIMIT {MOST_SLICES}"
    rows = fetch(
        f"SELECT {key}, {', '.join(sums)} FROM (SELECT {', '.join(columns)} FROM read_parquet($numbers)) "
        f"{group if slice_by else ''}",
        {"numbers": table.list_files("numbers")},
        SECONDS,
    )
    return {row[0]: [row[start : start + 5] for start in range(1, len(row), 5)] for row in rows}


def _summarise(moments: Moments, facts: Line, alpha: float) -> Line:
    n, left, right, difference, variance = moments
    sign = -1 if facts["higher_is_better"] is False else 1
    mean = None if difference is None else sign * difference
    low = high = p = None
    if mean is not None and variance is not None and n >= MIN_IMAGES:
        error = math.sqrt(variance / n)
        reach = student_quantile(1 - alpha, n - 1) * error
        low, high = mean - reach, mean + reach
        p = 2 * NormalDist().cdf(-abs(mean) / error) if error else None
    return {
        "left": left,
        "right": right,
        "difference": mean,
        "low": low,
        "high": high,
        "p": p,
        "n": n,
        "outcome": _judge_interval(low, high, facts),
        "method": "Student's t of the paired differences",
    }


def _judge_interval(low: float | None, high: float | None, facts: Line) -> str | None:
    if low is None or high is None or facts["higher_is_better"] is None:
        return None
    if low > 0 or high < 0:
        return "better" if low > 0 else "worse"
    margin = facts["margin"] or 0.0
    return "same" if low == high == 0 or (margin and -margin < low and high < margin) else "unclear"


def student_quantile(probability: float, degrees: int) -> float:
    """Returns the quantile of Student's t for 9 degrees of freedom or more, to four digits (Abramowitz 26.7.5)."""
    z = NormalDist().inv_cdf(probability)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / float(degrees) ** power for power, term in enumerate(terms, 1))
