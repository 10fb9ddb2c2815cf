"""Builds the judge's questions about a part: one for each caption, two for each pair of captions.

The driver and the Ray tasks of `evaluate` call it. Invariant: complete captions and golden sets never change. So every
process builds the same list, and a number in this list names a question.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ray_jobs.contract.spec import Spec
from ray_jobs.judge import rubric
from ray_jobs.storage import parts


@dataclass(frozen=True)
class Question:
    """`key` hashes image and text, so it is the same in every run. `row` is the image's row in the part."""

    key: str
    row: int
    text: str
    is_pair: bool = False


@dataclass(frozen=True)
class ImageQuestions:
    """The questions about an image: one for a caption, two for a pair, none for a pair of equal captions.

    The first question about a pair shows the baseline's caption first, the second shows it second.
    """

    image_id: str
    questions: tuple[Question, ...]


def build_questions(spec: Spec, caption_ids: Sequence[str], part: str) -> list[Question]:
    """Every question about a part once: about each set of captions in turn, then about the pairs."""
    golden = _read_golden(spec, part)
    images = [image for caption_id in caption_ids for image in build_caption_questions(spec, caption_id, part, golden)]
    images += build_pair_questions(spec, part, golden)
    return list({question.key: question for image in images for question in image.questions}.values())


def build_caption_questions(
    spec: Spec, caption_id: str, part: str, golden: dict[str, dict[str, Any]] | None = None
) -> list[ImageQuestions]:
    """The question about each caption of a part; an image without a caption is left out."""
    golden = _read_golden(spec, part) if golden is None else golden
    judge, image_questions = spec.suite.judge, []
    for image_id, caption in read_captions(spec, caption_id, part).items():
        image = golden[image_id]
        text = rubric.build_question(judge, caption, image["references"])
        image_questions.append(
            ImageQuestions(image_id, (Question(_hash_question(image, "caption", text), image["row"], text),))
        )
    return image_questions


def build_pair_questions(
    spec: Spec, part: str, golden: dict[str, dict[str, Any]] | None = None
) -> list[ImageQuestions]:
    """The questions about the images of a part that the baseline and the candidate have captioned, in both orders."""
    judge, image_questions = spec.suite.judge, []
    if not (judge.pairwise and spec.baseline):
        return []
    golden = _read_golden(spec, part) if golden is None else golden
    baseline_captions = read_captions(spec, spec.baseline.caption_id, part)
    for image_id, caption in read_captions(spec, spec.caption_id, part).items():
        if image_id not in baseline_captions:
            continue
        baseline_caption = baseline_captions[image_id]
        image, orders = golden[image_id], ((baseline_caption, caption), (caption, baseline_caption))
        texts = [rubric.build_pair_question(judge, *order, image["references"]) for order in orders]
        pair_questions = tuple(
            Question(_hash_question(image, "pair", text), image["row"], text, is_pair=True) for text in texts
        )
        image_questions.append(ImageQuestions(image_id, pair_questions if caption != baseline_caption else ()))
    return image_questions


def read_captions(spec: Spec, caption_id: str, part: str) -> dict[str, str]:
    """The captions of a part by image id, in order; images whose caption failed are left out."""
    rows = parts.read(spec.captions_uri_of(caption_id), part, ["image_id", "caption", "failure"]).to_pylist()
    return {row["image_id"]: row["caption"] for row in rows if row["failure"] is None}


def _read_golden(spec: Spec, part: str) -> dict[str, dict[str, Any]]:
    rows = parts.read_columns(spec.golden_uri, part, ["image_id", "blake3", "references"]).to_pylist()
    return {row["image_id"]: row | {"row": number} for number, row in enumerate(rows)}


def _hash_question(image: dict[str, Any], kind: str, text: str) -> str:
    """A hash of the source file's hash, the kind and the text.

    The source file identifies the golden image, because the answers are in a folder of the golden set.
    """
    return hashlib.sha256("\n".join((image["blake3"], kind, text)).encode()).hexdigest()[:32]
