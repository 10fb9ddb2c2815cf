"""Compares the demo's good checkpoint with itself (A/A), with newly sampled captions each night; prints a table.

    .assay/data/bin/python -m benchmarks.aa                # 24 nights, each compared with each other
    .assay/data/bin/python -m benchmarks.aa --nights 4     # a short run

Greedy captions of one checkpoint do not change, so the captions are sampled. The gate itself compares the nights, at
the margins below and at margin 0. Every FAIL is a false alarm. At margin 0 their rate may come near alpha. Comparisons
share nights, so the rate has no simple interval.
"""

import argparse
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from demo import scenes, vllm_engine
from demo.evaluate import DEMO
from ray_jobs.gate.holm import adjust_p_values
from ray_jobs.gate.non_inferiority import compare_metric
from ray_jobs.gate.paired_differences import PairedDifferences
from ray_jobs.metrics import CaptionContext
from ray_jobs.metrics.registry import BUILT_IN

GATED = {"exact_match": 0.05, "rouge_l": 0.05}
ALPHAS = (0.05, 0.0027)
TEMPERATURES = (1.0, 1.5)
Night = Mapping[str, np.ndarray]


def measure_night(captions: Sequence[str], references: Sequence[str]) -> Night:
    """The values of each metric: Assay's exact match, and a ROUGE-L by words without weights."""
    from rapidfuzz.distance import LCSseq

    exact = BUILT_IN["exact_match"].measure
    assert exact
    pairs = list(zip(captions, references, strict=True))
    return {
        "exact_match": np.array(
            [exact(CaptionContext(text, 0, "stop", (truth,))) for text, truth in pairs], dtype=float
        ),
        "rouge_l": np.array([LCSseq.normalized_similarity(text.split(), truth.split()) for text, truth in pairs]),
    }


def decide_night(old: Night, new: Night, alpha: float, gated: Mapping[str, float]) -> str:
    """The outcome as the verdict decides it: FAIL, PASS or INCONCLUSIVE, with Holm's correction over the metrics."""
    tests = []
    for name, margin in gated.items():
        pairs = PairedDifferences(BUILT_IN[name])
        pairs.add(old[name], new[name])
        tests.append(compare_metric(BUILT_IN[name], pairs, margin, alpha, family=len(gated)))
    if min(adjust_p_values([1.0 if test.p_worse is None else test.p_worse for test in tests])) <= alpha:
        return "FAIL"
    return "PASS" if all(test.outcome == "PASS" for test in tests) else "INCONCLUSIVE"


def main(nights: int) -> None:
    held_out = scenes.list_held_out()
    references = [scenes.write_caption(scene) for scene, _ in held_out]
    questions = [(image, scenes.CAPTION_PROMPT) for _, image in held_out]
    llm = vllm_engine.start(DEMO / "checkpoints" / "step-0800")
    print("| temperature | exact match | margins | alpha | comparisons | PASS | INCONCLUSIVE | FAIL | FAIL, % |")
    print("| --- " * 9 + "|")
    for temperature in TEMPERATURES:
        captions_by_night = [
            vllm_engine.ask(llm, questions, temperature=temperature, seed=seed) for seed in range(nights)
        ]
        night_values = [measure_night(captions, references) for captions in captions_by_night]
        mean = float(np.mean([values["exact_match"] for values in night_values]))
        for margin_text, gated in (("0.05", GATED), ("0", dict.fromkeys(GATED, 0.0))):
            for alpha in ALPHAS:
                counts = Counter(
                    decide_night(old, new, alpha, gated) for old, new in itertools.permutations(night_values, 2)
                )
                n, fails = counts.total(), counts["FAIL"]
                count_cells = " | ".join(str(counts[outcome]) for outcome in ("PASS", "INCONCLUSIVE", "FAIL"))
                row = f"{temperature:g} | {mean:.3f} | {margin_text} | {alpha:.2%} | {n} | {count_cells}"
                print(f"| {row} | {fails / n:.2%} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.aa")
    parser.add_argument("--nights", type=int, default=24)
    main(parser.parse_args().nights)
