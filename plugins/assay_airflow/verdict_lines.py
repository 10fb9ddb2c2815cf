"""Say a verdict in five lines, with rounded numbers: the log of the task `verdict`. The last line is the reason."""

from ray_jobs.contract.artifacts import Comparison, LimitCheck, Outcome, Record, Verdict
from ray_jobs.storage import records

WORST_FIRST: tuple[Outcome, ...] = ("FAIL", "INCOMPLETE", "INCONCLUSIVE", "PASS")
SHOWN = 2  # tests that get a line of their own; the report has all


def format_verdict(record: Record) -> list[str]:
    """What was compared, the worst two tests that decide, the URI of the report, and the outcome with its reason.

    There are fewer than five lines if fewer than two tests decide.
    """
    verdict = record.verdict
    baseline = f"compared with {verdict.baseline.checkpoint.name}" if verdict.baseline else "compared with nothing"
    return [
        f"{record.checkpoint.name}: {baseline} by suite {record.suite}, {record.images.get('scored', 0)} images",
        *_format_tests(verdict),
        f"report: {records.results_uri(record.run_uri, verdict)}/report.html",
        format_outcome(record),
    ]


def format_outcome(record: Record) -> str:
    """The outcome and its reason in one line."""
    return f"{record.verdict.outcome}: {record.verdict.reason}"


def _format_tests(verdict: Verdict) -> list[str]:
    """The worst tests that decide. The last line counts those that it leaves out."""
    deciding = [comparison for comparison in verdict.comparisons if not comparison.advisory]
    tests: list[Comparison | LimitCheck] = [*deciding, *verdict.limits]
    tests.sort(key=lambda test: WORST_FIRST.index(test.outcome))
    lines = [_format_test(test) for test in tests[:SHOWN]]
    if len(tests) > SHOWN:
        lines[-1] += f" (and {len(tests) - SHOWN} more in the report)"
    return lines


def _format_test(test: Comparison | LimitCheck) -> str:
    interval = f"[{_round(test.low)}, {_round(test.high)}]"
    if isinstance(test, LimitCheck):
        word = "at most" if test.kind == "max" else "at least"
        return f"{test.metric} {word} {_round(test.limit)}: {test.outcome}, {_round(test.value)} {interval}, n {test.n}"
    return (
        f"{test.metric}: {test.outcome}, {test.against} {_round(test.baseline)}, candidate {_round(test.candidate)}, "
        f"difference {_round(test.difference)} {interval}, margin {_round(test.margin)}, n {test.n}"
    )


def _round(value: float | None) -> str:
    """Three significant digits; an integer part is never cut."""
    if value is None:
        return "none"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
