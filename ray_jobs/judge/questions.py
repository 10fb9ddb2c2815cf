"""What the judge is to be asked about a part: one question for each caption, two for each pair of captions.

Captions and golden set never change once they are complete, so every process that asks for the questions of a part
gets the same list, and a number in it names a question.
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
    """`key` hashes image and text, so it names the same question in every run. `row` is the image's in the part."""

    key: str
    row: int
    text: str
    pair: bool = False


@dataclass(frozen=True)
class ImageQuestions:
    """One image's question or questions: `keys` are one for a caption, two for a pair (the baseline's caption first,
    then the candidate's), none for a pair of equal captions."""

    image_id: str
    questions: tuple[Question, ...]


def build_questions(spec: Spec, caption_ids: Sequence[str], part: str) -> list[Question]:
    """Every question about a part once: the caption sets in turn, then the pairs."""
    golden = _read_golden(spec, part)
    asked = [image for caption_id in caption_ids for image in build_caption_questions(spec, caption_id, part, golden)]
    asked += build_pair_questions(spec, part, golden)
    return list({one.key: one for image in asked for one in image.questions}.values())


def build_caption_questions(
    spec: Spec, caption_id: str, part: str, golden: dict[str, dict[str, Any]] | None = None
) -> list[ImageQuestions]:
    """The question about each caption of a part; an image without a caption is left out."""
    golden = _read_golden(spec, part) if golden is None else golden
    judge, found = spec.suite.judge, []
    for image_id, caption in read_captions(spec, caption_id, part).items():
        image = golden[image_id]
        text = rubric.build_question(judge, caption, image["references"])
        found.append(ImageQuestions(image_id, (Question(_hash_question(image, "caption", text), image["row"], text),)))
    return found


def build_pair_questions(
    spec: Spec, part: str, golden: dict[str, dict[str, Any]] | None = None
) -> list[ImageQuestions]:
    """The questions about the images of a part that the baseline and the candidate have captioned, in both orders."""
    judge, found = spec.suite.judge, []
    if not (judge.pairwise and spec.baseline):
        return []
    golden = _read_golden(spec, part) if golden is None else golden
    theirs = read_captions(spec, spec.baseline.caption_id, part)
    for image_id, ours in read_captions(spec, spec.caption_id, part).items():
        if image_id not in theirs:
            continue
        image, orders = golden[image_id], ((theirs[image_id], ours), (ours, theirs[image_id]))
        texts = [rubric.build_pair_question(judge, *order, image["references"]) for order in orders]
        asked = tuple(Question(_hash_question(image, "pair", text), image["row"], text, pair=True) for text in texts)
        found.append(ImageQuestions(image_id, asked if ours != theirs[image_id] else ()))
    return found


def read_captions(spec: Spec, caption_id: str, part: str) -> dict[str, str]:
    """The captions of a part by image id, in order; images whose caption failed are left out."""
    rows = parts.read(spec.captions_uri_of(caption_id), part, ["image_id", "caption", "failure"]).to_pylist()
    return {row["image_id"]: row["caption"] for row in rows if row["failure"] is None}


def _read_golden(spec: Spec, part: str) -> dict[str, dict[str, Any]]:
    rows = parts.columns(spec.golden_uri, part, ["image_id", "blake3", "references"]).to_pylist()
    return {row["image_id"]: row | {"row": number} for number, row in enumerate(rows)}


def _hash_question(image: dict[str, Any], kind: str, text: str) -> str:
    """The source file's hash names the golden image too: the answers lie in a folder of the golden set."""
    return hashlib.sha256("\n".join((image["blake3"], kind, text)).encode()).hexdigest()[:32]
