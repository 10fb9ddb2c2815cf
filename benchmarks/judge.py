"""Measures how far the demo's judge agrees with the truth and with itself; prints Markdown tables.

    .assay/data/bin/python -m benchmarks.judge               # 256 scenes, 2560 captions, asked twice
    .assay/data/bin/python -m benchmarks.judge --scenes 32   # a quick look

The errors in the captions are planted: a caption is right, wrong in some attributes, another image's, or garbled. So
the right answer is known for every criterion. The second time (A/A), the same questions come in another order, and 7 at
once instead of 64. Questions, schema and parser are those of a run.
"""

import argparse
import random
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.stats import beta

from demo import judge_task, scenes, vllm_engine
from demo.evaluate import plant_captions
from ray_jobs.contract.sections.judge import Judge
from ray_jobs.judge.rubric import Judgement, build_question, build_schema, parse_answer

CRITERIA = tuple(scenes.VALUES)
JUDGE = Judge(kind="vllm", model="demo/judge", prompt=judge_task.PROMPT, criteria=CRITERIA)
RESAMPLES = 2000
FEW = 7


def ask(llm: object, pairs: Sequence[tuple[Image.Image, str]], at_once: int) -> list[Judgement]:
    """The judgement of each image and caption."""
    questions = [(image, build_question(JUDGE, caption, [])) for image, caption in pairs]
    answers: list[str] = []
    for first in range(0, len(questions), at_once):
        answers += vllm_engine.ask(llm, questions[first : first + at_once], build_schema(JUDGE))
    return [parse_answer(JUDGE, text, None) for text in answers]


def compute_interval(count: int, n: int, alpha: float = 0.05) -> tuple[float, float]:
    """The exact interval of a share (Clopper and Pearson, 1934)."""
    low = float(beta.ppf(alpha / 2, count, n - count + 1)) if count else 0.0
    high = float(beta.ppf(1 - alpha / 2, count + 1, n - count)) if count < n else 1.0
    return low, high


def compute_agreement(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy and Cohen's kappa (1960) of confusion counts [..., truth, judged].

    Kappa is NaN where all agree on one value.
    """
    observed = np.trace(counts, axis1=-2, axis2=-1) / counts.sum(axis=(-2, -1))
    expected = compute_chance_agreement(counts)
    with np.errstate(invalid="ignore", divide="ignore"):
        return observed, (observed - expected) / (1 - expected)


def compute_chance_agreement(counts: np.ndarray) -> np.ndarray:
    chance: np.ndarray = (counts.sum(axis=-1) * counts.sum(axis=-2)).sum(axis=-1) / counts.sum(axis=(-2, -1)) ** 2
    return chance


def count_confusion(truth: np.ndarray, judged: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Counts [image, truth, judged] of one criterion's verdicts."""
    counts = np.zeros((image.max() + 1, 2, 2))
    np.add.at(counts, (image, truth.astype(int), judged.astype(int)), 1)
    return counts


def list_criterion_rows(truth: np.ndarray, judged: np.ndarray, image: np.ndarray) -> list[str]:
    """One line per criterion: accuracy and kappa, with intervals from a bootstrap over images.

    The captions of an image stay together. If every verdict is right, so is every resample. The lower bound is then
    the bound of Clopper and Pearson, computed from the number of images.
    """
    rng = np.random.default_rng(0)
    images = int(image.max()) + 1
    weights = rng.multinomial(images, np.full(images, 1 / images), size=RESAMPLES)
    lines = []
    for number, name in enumerate((*CRITERIA, "all of them")):
        pick = slice(None) if name == "all of them" else slice(number, number + 1)
        confusions = [
            count_confusion(truth[:, column], judged[:, column], image) for column in range(len(CRITERIA))[pick]
        ]
        counts = np.sum(confusions, axis=0)
        accuracy, kappa = compute_agreement(counts.sum(axis=0))
        spread = compute_agreement(np.einsum("ri,its->rts", weights, counts))
        ranges = [np.nanpercentile(values, (2.5, 97.5)) for values in spread]
        if accuracy == 1:
            low = compute_interval(images, images)[0]
            expected = compute_chance_agreement(counts.sum(axis=0))
            ranges = [np.array((low, 1.0)), np.array(((low - expected) / (1 - expected), 1.0))]
        measures = zip((accuracy, kappa), ranges, strict=True)
        cells = [f"{value:.3f} [{low:.3f}, {high:.3f}]" for value, (low, high) in measures]
        share = truth[:, number].mean() if number < len(CRITERIA) else truth.mean()
        lines.append(f"| {name} | {share:.3f} | {' | '.join(cells)} |")
    return lines


def read_verdicts(judgements: Sequence[Judgement]) -> np.ndarray:
    """The verdicts, [question, criterion], as 1 or 0; NaN without a valid answer."""
    return np.array([[judgement.values.get(f"judge_{name}", np.nan) for name in CRITERIA] for judgement in judgements])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.judge", description=__doc__)
    parser.add_argument("--scenes", type=int, default=256, help="of the 256 held-out scenes")
    count = parser.parse_args().scenes
    held_out = scenes.list_held_out()[:count]
    truths = [scene for scene, _ in held_out]
    planted_pairs = [pair for pairs in plant_captions(truths).values() for pair in pairs]
    image = np.array([number for number, _ in planted_pairs])
    questions = [(held_out[number][1], caption) for number, caption in planted_pairs]
    truth = np.array(
        [
            [judge_task.judge_attributes(truths[number], caption)[name] for name in CRITERIA]
            for number, caption in planted_pairs
        ]
    )

    llm = vllm_engine.start(Path(vllm_engine.__file__).parent / "judge")
    began = time.monotonic()
    first = read_verdicts(ask(llm, questions, 64))
    took = time.monotonic() - began
    order = random.Random(1).sample(range(len(questions)), len(questions))
    second = np.empty_like(first)
    second[order] = read_verdicts(ask(llm, [questions[number] for number in order], FEW))

    valid = ~np.isnan(first).any(axis=1)
    print(
        f"`python -m benchmarks.judge --scenes {count}`: {len(questions)} captions of {count} images "
        "with planted errors,"
    )
    print(f"{int(valid.sum())} valid answers, {took:.0f} s; 95% intervals from {RESAMPLES} resamples of the images.\n")
    print("| criterion | holds, in truth | accuracy | Cohen's kappa |\n| --- | --- | --- | --- |")
    print("\n".join(list_criterion_rows(truth[valid], first[valid] == 1, image[valid])))

    both = valid & ~np.isnan(second).any(axis=1)
    differs = first[both] != second[both]
    print(f"\nA/A: the same questions in another order, {FEW} at once in place of 64.\n")
    print("| what | of | flipped | share, 95% Clopper-Pearson |\n| --- | --- | --- | --- |")
    for kind, flips in (("verdicts", differs), ("answers with a verdict that flips", differs.any(axis=1))):
        low, high = compute_interval(int(flips.sum()), flips.size)
        print(f"| {kind} | {flips.size} | {int(flips.sum())} | {flips.mean():.5f} [{low:.5f}, {high:.5f}] |")
    once = int((np.isnan(first).any(axis=1) != np.isnan(second).any(axis=1)).sum())
    print(f"\nValid in only one of the two: {once} of {len(questions)}.")


if __name__ == "__main__":
    main()
