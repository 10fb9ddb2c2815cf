"""A run with its report: scenes, captions, scores and a verdict, for the tests of the page."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from samples import make_baseline, make_spec
from stored_runs import CaptionResult, Image, write_golden, write_run, write_scores

from ray_jobs.contract.artifacts import Comparison, Outcome, Verdict
from ray_jobs.contract.spec import Spec
from ray_jobs.report.write_report import write_report
from ray_jobs.storage import objects

GATED: dict[str, Any] = {"gate__metrics": {"chrf": {"margin": 1.0}, "exact_match": {"margin": 0.05}}}


def make_results(count: int, shift: float = 0.0, caption: str = "one small red square") -> list[CaptionResult]:
    """Captions with values that differ from image to image."""
    generator = np.random.default_rng(count)
    return [
        CaptionResult(
            f"{caption} {number}",
            {"chrf": float(60 + 9 * generator.normal() + shift * number / count), "exact_match": float(number % 2),
             "words": float(len(caption.split()) + 1)},
            rationale=f"because of {number}",
        )
        for number in range(count)
    ]  # fmt: skip


def make_images(count: int, references: Sequence[str] = ("a red square",)) -> list[Image]:
    return [Image(f"scenes/{number:03d}.png", references, "square") for number in range(count)]


def make_comparison(metric: str, difference: float | None = -2.0, **fields: Any) -> Comparison:
    values: dict[str, Any] = {
        "metric": metric, "outcome": "FAIL", "method": "paired t", "n": 12, "baseline": 60.0, "candidate": 58.0,
        "difference": difference, "low": -3.5, "high": -0.5, "margin": 1.0, "p_worse": 0.002, "p_holm": 0.004,
        "detectable": 1.25,
    }  # fmt: skip
    return Comparison(**values | fields)


class ReportCase:
    """A report and its inputs. Without `old` it is a first run."""

    def __init__(
        self,
        root: Path | str,
        pictures: Sequence[Image],
        new: Sequence[CaptionResult],
        old: Sequence[CaptionResult] | None = None,
        outcome: Outcome = "FAIL",
        reason: str = "chrf 2.000 worse",
        comparisons: Sequence[Comparison] | None = None,
        called: str = "step-2",
        anchor: str | None = None,
        judge: dict[str, Any] | None = None,
        details: dict[str, Any] | None = None,
        rejected: dict[str, int] | None = None,
        verdict: dict[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        spec: Spec = make_spec(root=str(root), called=called, **GATED | settings)
        write_golden(spec, pictures, rejected)
        before = make_spec(root=str(root), fingerprint="b" * 16, called="step-1", **GATED | settings)
        if old is not None:
            spec = spec.model_copy(update={"baseline": make_baseline(before)})
            write_run(spec, before.caption_id, pictures, old)
        if anchor:
            first = make_spec(root=str(root), fingerprint="a" * 16, called=anchor, **GATED | settings)
            spec = spec.model_copy(update={"anchor": make_baseline(first)})
        manifest = write_run(spec, spec.caption_id, pictures, new)
        self.spec, self.scores = spec, write_scores(spec, manifest, new, **details or {})
        if judge is not None:
            objects.write(f"{spec.run_uri}/judge.json", json.dumps(judge).encode())
        if comparisons is None:
            comparisons = [make_comparison("chrf"), make_comparison("exact_match")] if old is not None else []
        fields = {"outcome": outcome, "reason": reason, "baseline": spec.baseline, "alpha": 0.0027}
        self.verdict = Verdict(comparisons=tuple(comparisons), **fields | (verdict or {}))
        self.uri = write_report(self.spec, self.scores, self.verdict)
        self.html = objects.read(self.uri).decode()

    @property
    def text(self) -> str:
        """The page without its tags and with single spaces."""
        body = re.sub(r"<style>.*?</style>|<svg.*?</svg>", " ", self.html, flags=re.DOTALL)
        return " ".join(re.sub(r"<[^>]*>", " ", body).split())
