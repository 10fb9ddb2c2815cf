"""A run whose judge has criteria: some captions have a wrong background, fewer have another fault."""

from pathlib import Path
from typing import Any

from report_case import ReportCase, make_comparison, make_images
from stored_runs import CaptionResult

CRITERIA = ("colour", "shape", "background")
SETTINGS: dict[str, Any] = {
    "judge__kind": "vllm",
    "judge__model": "/judge",
    "judge__criteria": list(CRITERIA),
    "gate__metrics": {"exact_match": {"margin": 0.05}, "judge": {"margin": 0.05}},
}


def make_result(*wrong: str, rationale: str = "a red square") -> CaptionResult:
    """A caption with these criteria missed."""
    values = {f"judge_{criterion}": float(criterion not in wrong) for criterion in CRITERIA}
    judge = sum(values.values()) / len(CRITERIA)
    caption = f"a red square, {' and '.join(wrong) or 'nothing'} wrong"
    return CaptionResult(caption, {"exact_match": float(not wrong), "judge": judge, **values}, rationale)


def make_judged_run(root: Path, count: int = 30, backgrounds: int = 9, **settings: Any) -> ReportCase:
    """9 captions have a wrong background, one a wrong shape too, 2 a wrong colour, and one all three.

    The last caption of the baseline has a wrong background.
    """
    new = [make_result("background") for _ in range(backgrounds)]
    new += [make_result("shape", "background"), make_result("colour")]
    new += [make_result("colour", rationale="the square is blue"), make_result(*CRITERIA)]
    wrong = len(new)
    new += [make_result() for _ in range(count - wrong)]
    old = [make_result() for _ in range(count - 1)] + [make_result("background")]
    fields = {"n": count, "baseline": (count - 1) / count, "candidate": (count - wrong) / count}
    difference = fields["candidate"] - fields["baseline"]
    comparison = make_comparison("exact_match", difference, **fields | {"low": -0.6, "high": -0.2, "margin": 0.05})
    facts: dict[str, Any] = {
        "comparisons": [comparison],
        "reason": f"exact_match {-difference:.3f} worse [-0.600, -0.200], margin 0.05; against step-1",
    }
    return ReportCase(root, make_images(count), new, old, **SETTINGS | facts | settings)
