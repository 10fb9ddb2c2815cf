"""Build the report's examples: a thumbnail, both captions, the references, the judge's rationale and the values.

`report.page` calls this. It reads only the parts that contain the chosen images.
"""

import base64
import io
import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from typing import Any

from PIL import Image

from ray_jobs.contract.artifacts import Manifest
from ray_jobs.fields.columns import INVALID, NO_FIELDS
from ray_jobs.fields.truth import TRUTH
from ray_jobs.inputs.display_text import DisplayText, sanitise, sanitise_name
from ray_jobs.report import numbers
from ray_jobs.report.headline import name_criterion
from ray_jobs.report.image_kinds import RankedImage
from ray_jobs.report.rank_images import Side, UnscoredImage
from ray_jobs.storage import parts

LARGE_SIDE, SMALL_SIDE = 384, 160  # pixels of the longer side of an image that is shown, and of a folded one
REFERENCES = 5
RATIONALE_CHARACTERS = 400
MIN_LIKENESS = 0.4  # below this similarity, marking the different words does not help a reader


@dataclass(frozen=True)
class CaptionCard:
    """One checkpoint's answer about an image. `caption` is None after a `failure`.

    `pieces` are the pieces of the caption. Each piece says whether the other checkpoint has different words there.
    `fields` are the answer's values beside the caption. An answer that does not fit the schema has no fields, and
    `mismatch` says why. `missed` has the judge's criteria that do not hold, None where the judge gave no answer.
    """

    checkpoint: str
    caption: DisplayText | None
    pieces: tuple[tuple[str, bool], ...]
    failure: str
    rationale: DisplayText | None
    values: dict[str, str]
    fields: dict[str, DisplayText] = field(default_factory=dict)
    mismatch: DisplayText | None = None
    missed: tuple[str, ...] | None = None


@dataclass(frozen=True)
class ImageExample:
    """One image with a card per checkpoint. `truth` has the right values of the fields that the data set has."""

    image_id: str
    label: str
    thumbnail: str
    rank_value: str
    references: tuple[DisplayText, ...]
    left_out: int
    cards: tuple[CaptionCard, ...]
    truth: dict[str, DisplayText] = field(default_factory=dict)


@dataclass(frozen=True)
class FailedImage:
    """An image without a score."""

    image_id: str
    reason: str
    detail: DisplayText


def build_examples(
    golden_uri: str,
    sides: Sequence[Side],
    chosen: Sequence[RankedImage],
    metrics: Sequence[str],
    criteria: Sequence[str] = (),
    large: Collection[str] | None = None,
) -> list[ImageExample]:
    """The chosen images in their order. Each has one card per side, in the order of `sides`.

    Args:
        golden_uri: The golden set with the images.
        sides: The baseline, if there is one, and the candidate.
        chosen: The images.
        metrics: The metrics whose values are shown.
        criteria: The metrics of the judge's criteria.
        large: The ids of the images that are shown large; None for all.
    """
    rows = [_read_rows(golden_uri, "golden", chosen)]
    rows += [_read_rows(side.captions_uri, "captions", chosen, side.captions) for side in sides]
    rows += [_read_rows(side.scores_uri, "scores", chosen, side.scores) for side in sides]
    golden, captions, scores = rows[0], rows[1 : 1 + len(sides)], rows[1 + len(sides) :]
    examples = []
    for ranked in chosen:
        image = golden.get(ranked.image_id, {})
        references = image.get("references") or []
        cards = [
            _build_card(side.name, caption_row.get(ranked.image_id, {}), score_row.get(ranked.image_id, {}), metrics,
                        criteria, references)
            for side, caption_row, score_row in zip(sides, captions, scores, strict=True)
        ]  # fmt: skip
        if len(cards) == 2:
            cards = _mark_differences(*cards)
        example = ImageExample(
            image_id=sanitise_name(ranked.image_id),
            label=sanitise_name(image.get("label") or ""),
            thumbnail=make_thumbnail(
                image.get("image"), LARGE_SIDE if large is None or ranked.image_id in large else SMALL_SIDE
            ),
            rank_value=numbers.format_number(ranked.value, sign=len(sides) > 1),
            references=tuple(sanitise(text, RATIONALE_CHARACTERS) for text in references[:REFERENCES]),
            left_out=max(0, len(references) - REFERENCES),
            cards=tuple(cards),
            truth={
                sanitise_name(key): _format_field(value) for key, value in json.loads(image.get(TRUTH) or "{}").items()
            },
        )
        examples.append(example)
    return examples


def build_failures(side: Side, lost: Sequence[UnscoredImage]) -> list[FailedImage]:
    """The images without a score, each with the engine's error or the judge's unusable answer."""
    captions = _read_rows(side.captions_uri, "captions", lost, side.captions)
    scores = _read_rows(side.scores_uri, "scores", lost, side.scores)
    failed_images = []
    for image in lost:
        caption, score = captions.get(image.image_id, {}), scores.get(image.image_id, {})
        if caption.get("failure"):
            reason, detail = f"{image.reason}: {caption['failure']}", caption.get("detail")
        else:
            reason, detail = image.reason, score.get("rationale")
        failed_images.append(
            FailedImage(
                sanitise_name(image.image_id), sanitise_name(reason), sanitise(detail or "", RATIONALE_CHARACTERS)
            )
        )
    return failed_images


def make_thumbnail(image: bytes | None, longer_side: int = LARGE_SIDE) -> str:
    """A data URL of a small JPEG; empty when there is no image, or the image cannot be opened."""
    try:
        picture = Image.open(io.BytesIO(image or b"")).convert("RGB")
        picture.thumbnail((longer_side, longer_side))
    except (OSError, ValueError, Image.DecompressionBombError):
        return ""
    sink = io.BytesIO()
    picture.save(sink, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(sink.getvalue()).decode()}"


COLUMNS = {"golden": {"image_id", "image", "label", "references", TRUTH}}


def _read_rows(
    uri: str, kind: str, chosen: Sequence[RankedImage | UnscoredImage], manifest: Manifest | None = None
) -> dict[str, dict[str, Any]]:
    """The rows of the chosen images, by id."""
    rows_by_id: dict[str, dict[str, Any]] = {}
    for part in dict.fromkeys(image.part for image in chosen):
        wanted = {image.image_id for image in chosen if image.part == part}
        table = parts.read(uri, part, manifest=manifest)
        if kind in COLUMNS:
            table = table.select([column for column in table.column_names if column in COLUMNS[kind]])
        keep = [image_id in wanted for image_id in table["image_id"].to_pylist()]
        rows_by_id |= {row["image_id"]: row for row in table.filter(keep).to_pylist()}
    return rows_by_id


def _build_card(
    checkpoint: str,
    caption_row: dict[str, Any],
    score_row: dict[str, Any],
    metrics: Sequence[str],
    criteria: Sequence[str],
    references: Sequence[str],
) -> CaptionCard:
    caption, rationale = caption_row.get("caption"), score_row.get("rationale")
    if rationale in references:  # the reader sees that text already
        rationale = None
    answered = [criterion for criterion in criteria if score_row.get(criterion) is not None]
    values = {metric: score_row.get(metric) for metric in metrics if metric in score_row}
    mismatch = caption_row.get(INVALID)
    fields = (
        {} if mismatch or caption is None else {key: caption_row[key] for key in caption_row if key not in NO_FIELDS}
    )
    return CaptionCard(
        checkpoint=sanitise_name(checkpoint),
        caption=None if caption is None else sanitise(caption),
        pieces=() if caption is None else ((sanitise(caption).text, False),),
        failure=sanitise_name(caption_row.get("failure") or score_row.get("failure") or ""),
        rationale=sanitise(rationale, RATIONALE_CHARACTERS) if rationale else None,
        values={
            metric: numbers.format_number(value, numbers.choose_decimals(value)) for metric, value in values.items()
        },
        fields={sanitise_name(key): _format_field(value) for key, value in fields.items()},
        mismatch=sanitise(f"{mismatch}: {caption_row.get('detail') or ''}", RATIONALE_CHARACTERS) if mismatch else None,
        missed=tuple(name_criterion(criterion) for criterion in answered if not score_row[criterion])
        if answered
        else None,
    )


def _format_field(value: Any) -> DisplayText:
    """A field's value as JSON. A text has no quotes."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return sanitise(text, RATIONALE_CHARACTERS)


def _mark_differences(before: CaptionCard, after: CaptionCard) -> list[CaptionCard]:
    """Both cards. In each caption, the words that the other caption lacks are marked."""
    if not (before.caption and after.caption):
        return [before, after]
    words = [re.split(r"(\s+)", card.caption.text) for card in (before, after) if card.caption]
    matcher = SequenceMatcher(None, words[0], words[1], autojunk=False)
    if SequenceMatcher(None, words[0][::2], words[1][::2], autojunk=False).ratio() < MIN_LIKENESS:
        return [before, after]
    pieces: tuple[list[tuple[str, bool]], list[tuple[str, bool]]] = ([], [])
    for operation, *ends in matcher.get_opcodes():
        for side, marked, (start, end) in zip(words, pieces, (ends[:2], ends[2:]), strict=True):
            if start < end:
                marked.append(("".join(side[start:end]), operation != "equal"))
    return [replace(card, pieces=tuple(marked)) for card, marked in zip((before, after), pieces, strict=True)]
