"""Single images as the report shows them: a thumbnail, both captions, the references, what the judge said, the values.

Only the parts that the chosen images are in are read.
"""

import base64
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from typing import Any

from PIL import Image

from ray_jobs.contract.artifacts import Manifest
from ray_jobs.fields.columns import INVALID, NO_FIELDS
from ray_jobs.fields.truth import TRUTH
from ray_jobs.inputs.display_text import Shown, name, shown
from ray_jobs.report import numbers
from ray_jobs.report.rank_images import RankedImage, Side, UnscoredImage
from ray_jobs.storage import parts

THUMBNAIL = 256  # pixels, the longer side
REFERENCES = 5
RATIONALE_CHARACTERS = 400
MIN_LIKENESS = 0.4  # captions that share less are not worth marking word by word


@dataclass(frozen=True)
class CaptionCard:
    """What one checkpoint wrote about an image; `caption` is None where it wrote nothing, for a `failure`.

    `pieces` are the caption cut up, each with whether the other checkpoint has other words there. `fields` are what the
    answer says beside the caption; where it does not fit the schema there are none, and `unfit` says why.
    """

    who: str
    caption: Shown | None
    pieces: tuple[tuple[str, bool], ...]
    failure: str
    rationale: Shown | None
    values: dict[str, str]
    fields: dict[str, Shown] = field(default_factory=dict)
    unfit: Shown | None = None


@dataclass(frozen=True)
class ImageExample:
    """One image; `truth` are the right values of the fields, as far as the data set has them."""

    image_id: str
    label: str
    thumbnail: str
    by: str
    references: tuple[Shown, ...]
    left_out: int
    told: tuple[CaptionCard, ...]
    truth: dict[str, Shown] = field(default_factory=dict)


@dataclass(frozen=True)
class FailedImage:
    """An example of an image without a score."""

    image_id: str
    reason: str
    detail: Shown


def build_examples(
    golden_uri: str, sides: Sequence[Side], chosen: Sequence[RankedImage], metrics: Sequence[str]
) -> list[ImageExample]:
    """The chosen images in their order; `sides` are shown beside each other in theirs."""
    rows = [_read_rows(golden_uri, "golden", chosen)]
    rows += [_read_rows(side.captions_uri, "captions", chosen, side.captions) for side in sides]
    rows += [_read_rows(side.scores_uri, "scores", chosen, side.scores) for side in sides]
    golden, captions, scores = rows[0], rows[1 : 1 + len(sides)], rows[1 + len(sides) :]
    made = []
    for one in chosen:
        image = golden.get(one.image_id, {})
        references = image.get("references") or []
        told = [
            _build_card(side.name, said.get(one.image_id, {}), scored.get(one.image_id, {}), metrics)
            for side, said, scored in zip(sides, captions, scores, strict=True)
        ]
        if len(told) == 2:
            told = _mark_differences(*told)
        case = ImageExample(
            image_id=name(one.image_id),
            label=name(image.get("label") or ""),
            thumbnail=make_thumbnail(image.get("image")),
            by=numbers.format_number(one.by, sign=len(sides) > 1),
            references=tuple(shown(text, RATIONALE_CHARACTERS) for text in references[:REFERENCES]),
            left_out=max(0, len(references) - REFERENCES),
            told=tuple(told),
            truth={name(key): _format_field(value) for key, value in json.loads(image.get(TRUTH) or "{}").items()},
        )
        made.append(case)
    return made


def build_failures(side: Side, lost: Sequence[UnscoredImage]) -> list[FailedImage]:
    """What is known of the examples: the engine's error, or what the judge answered instead of an answer."""
    captions = _read_rows(side.captions_uri, "captions", lost, side.captions)
    scores = _read_rows(side.scores_uri, "scores", lost, side.scores)
    made = []
    for one in lost:
        caption, score = captions.get(one.image_id, {}), scores.get(one.image_id, {})
        if caption.get("failure"):
            reason, detail = f"{one.reason}: {caption['failure']}", caption.get("detail")
        else:
            reason, detail = one.reason, score.get("rationale")
        made.append(FailedImage(name(one.image_id), name(reason), shown(detail or "", RATIONALE_CHARACTERS)))
    return made


def make_thumbnail(image: bytes | None) -> str:
    """A data URL of a small JPEG; empty where there is no image that opens."""
    try:
        picture = Image.open(io.BytesIO(image or b"")).convert("RGB")
        picture.thumbnail((THUMBNAIL, THUMBNAIL))
    except (OSError, ValueError, Image.DecompressionBombError):
        return ""
    sink = io.BytesIO()
    picture.save(sink, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(sink.getvalue()).decode()}"


COLUMNS = {"golden": {"image_id", "image", "label", "references", TRUTH}}


def _read_rows(
    uri: str, kind: str, chosen: Sequence[RankedImage | UnscoredImage], made: Manifest | None = None
) -> dict[str, dict[str, Any]]:
    """The rows of the chosen images, by id."""
    found: dict[str, dict[str, Any]] = {}
    for part in dict.fromkeys(one.part for one in chosen):
        wanted = {one.image_id for one in chosen if one.part == part}
        table = parts.read(uri, part, made=made)
        if kind in COLUMNS:
            table = table.select([column for column in table.column_names if column in COLUMNS[kind]])
        keep = [image_id in wanted for image_id in table["image_id"].to_pylist()]
        found |= {row["image_id"]: row for row in table.filter(keep).to_pylist()}
    return found


def _build_card(who: str, said: dict[str, Any], scored: dict[str, Any], metrics: Sequence[str]) -> CaptionCard:
    caption, rationale = said.get("caption"), scored.get("rationale")
    values = {metric: scored.get(metric) for metric in metrics if metric in scored}
    unfit = said.get(INVALID)
    fields = {} if unfit or caption is None else {key: said[key] for key in said if key not in NO_FIELDS}
    return CaptionCard(
        who=name(who),
        caption=None if caption is None else shown(caption),
        pieces=() if caption is None else ((shown(caption).text, False),),
        failure=name(said.get("failure") or scored.get("failure") or ""),
        rationale=shown(rationale, RATIONALE_CHARACTERS) if rationale else None,
        values={
            metric: numbers.format_number(value, numbers.choose_decimals(value)) for metric, value in values.items()
        },
        fields={name(key): _format_field(value) for key, value in fields.items()},
        unfit=shown(f"{unfit}: {said.get('detail') or ''}", RATIONALE_CHARACTERS) if unfit else None,
    )


def _format_field(value: Any) -> Shown:
    """A field's value as JSON, a text without its quotes."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return shown(text, RATIONALE_CHARACTERS)


def _mark_differences(old: CaptionCard, new: CaptionCard) -> list[CaptionCard]:
    """Both, with the words marked that the other does not have."""
    if not (old.caption and new.caption):
        return [old, new]
    words = [re.split(r"(\s+)", said.caption.text) for said in (old, new) if said.caption]
    matcher = SequenceMatcher(None, words[0], words[1], autojunk=False)
    if SequenceMatcher(None, words[0][::2], words[1][::2], autojunk=False).ratio() < MIN_LIKENESS:
        return [old, new]
    pieces: tuple[list[tuple[str, bool]], list[tuple[str, bool]]] = ([], [])
    for what, *ends in matcher.get_opcodes():
        for side, made, (start, end) in zip(words, pieces, (ends[:2], ends[2:]), strict=True):
            if start < end:
                made.append(("".join(side[start:end]), what != "equal"))
    return [replace(said, pieces=tuple(made)) for said, made in zip((old, new), pieces, strict=True)]
