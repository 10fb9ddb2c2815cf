"""Print the captions with the lowest values of a metric.

python examples/worst_captions.py RUN METRIC

Reads the run part by part, so a run over millions of images needs no more memory than a small one.
"""

import heapq
import sys
from collections.abc import Iterator

from ray_jobs import api

SHOWN = 10


def main(run_uri: str, metric: str) -> None:
    record = api.load_record(run_uri)
    print(f"{record.checkpoint.name}: {record.verdict.outcome}: {record.verdict.reason}")
    for value, image_id, caption in heapq.nsmallest(SHOWN, scored_captions(run_uri, metric)):
        print(f"{value:.4g}  {image_id}  {caption}")


def scored_captions(run_uri: str, metric: str) -> Iterator[tuple[float, str, str]]:
    """Value, image and caption of every image that has a value."""
    captions = api.iterate_captions(run_uri, ["image_id", "caption"])
    scores = api.iterate_scores(run_uri, [metric])
    for caption_part, score_part in zip(captions, scores, strict=True):
        for row, value in zip(caption_part.to_pylist(), score_part[metric].to_pylist(), strict=True):
            if value is not None:
                yield value, row["image_id"], row["caption"]


if __name__ == "__main__":
    main(*sys.argv[1:])
