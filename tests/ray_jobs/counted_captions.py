"""Writes a golden set and captions whose n-grams the tests of counting know."""

import random

from samples import make_spec
from stored_captions import write_captions, write_golden

from ray_jobs.contract.spec import Spec

WORDS = ["red", "dot", "box", "on", "the", "狗", "🙂"]


def draw_texts(seed: int, count: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(0, 6))) for _ in range(count)]


def write_inputs(root: str) -> Spec:
    """Write 22 images in six parts; every third has no references, and one has no caption."""
    spec = make_spec(root=root)
    golden = [{"image_id": str(n), "references": draw_texts(n, n % 3)} for n in range(22)]
    write_golden(spec, golden)
    captions = [{"image_id": str(n), "caption": text} for n, text in enumerate(draw_texts(99, 22))]
    captions[7] = {"image_id": "7", "failure": "engine-error"}
    write_captions(spec, captions)
    return spec
