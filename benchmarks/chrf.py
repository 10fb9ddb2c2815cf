"""Compares chrF by arrays with chrF by sacreBLEU: captions per CPU second, and the largest difference; prints a table.

python -m benchmarks.chrf
"""

import random
import time

from sacrebleu.metrics import CHRF

from ray_jobs.metrics import CaptionContext
from ray_jobs.metrics.builtin import chrf
from ray_jobs.metrics.text.batch import Batch

CASES = ((4000, 11, 5), (4000, 11, 1), (1000, 60, 1))  # captions, words of each text, references of each caption


def draw_captions(captions: int, words: int, references: int) -> list[CaptionContext]:
    """Captions of words of two to nine letters from a vocabulary of 400."""
    source = random.Random(1)
    vocabulary = ["".join(source.choices("abcdefghijklmnopqrstuvwxyz", k=source.randint(2, 9))) for _ in range(400)]

    def text() -> str:
        return " ".join(source.choices(vocabulary, k=words))

    return [CaptionContext(text(), words, "stop", tuple(text() for _ in range(references))) for _ in range(captions)]


if __name__ == "__main__":
    chrf.measure_all(Batch(draw_captions(10, 3, 1)))  # so that no import is timed
    print("| words | references | arrays | sacreBLEU | largest difference |\n| --- | --- | --- | --- | --- |")
    for case in CASES:
        captions = draw_captions(*case)
        started = time.process_time()
        values = chrf.measure_all(Batch(captions))
        middle = time.process_time()
        scorer = CHRF()
        expected = [scorer.sentence_score(caption.text, list(caption.references)).score for caption in captions]
        ended = time.process_time()
        difference = max(abs((value or 0) - other) for value, other in zip(values, expected, strict=True))
        speeds = f"{len(captions) / (middle - started):,.0f} | {len(captions) / (ended - middle):,.0f}"
        print(f"| {case[1]} | {case[2]} | {speeds} | {difference:.0e} |")
