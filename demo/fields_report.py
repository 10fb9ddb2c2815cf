"""Builds the section on fields of demo/RESULTS.md from the measurements of demo.evaluate_fields, which calls it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo import fields, scenes
from demo.report import format_share, format_table, list_training_rows

HEADING = "## Fields"
EXACT = ("caption", "count", "colour", "shape")  # right or wrong; a box is more or less right


@dataclass(frozen=True)
class Answers:
    """A checkpoint's texts for each image: fields by vLLM and by transformers, and plain captions by vLLM."""

    by_vllm: list[str]
    by_transformers: list[str]
    captions: list[str]


def parse_fields(text: str) -> dict[str, Any] | None:
    """The answer when it is a JSON object with the schema's keys, else None."""
    try:
        answer = json.loads(text)
    except json.JSONDecodeError:
        return None
    return answer if isinstance(answer, dict) and list(answer) == fields.SCHEMA["required"] else None


def measure_overlap(box: list[int], other: list[int]) -> float:
    """Intersection over union of two boxes [left, top, right, bottom]; 0 when one of them has no area."""
    (left, top, right, bottom), (x, y, u, v) = box, other
    if right <= left or bottom <= top or u <= x or v <= y:
        return 0.0
    common = max(0, min(right, u) - max(left, x)) * max(0, min(bottom, v) - max(top, y))
    return common / ((right - left) * (bottom - top) + (u - x) * (v - y) - common)


def average_overlaps(boxes: list[list[int]], true: list[list[int]]) -> float:
    """The mean over pairs in order; a box that is missing or too much counts as 0."""
    return sum(measure_overlap(*pair) for pair in zip(boxes, true, strict=False)) / max(len(boxes), len(true), 1)


def measure_fields(answers: list[str], truths: list[dict[str, Any]]) -> list[str]:
    """The share of answers that are JSON with the schema's keys, the share of right values per field, and the mean
    overlap of the boxes. An invalid answer counts as wrong in every field."""
    parsed = [parse_fields(text) for text in answers]
    pairs = list(zip(parsed, truths, strict=True))
    right = [
        format_share([answer is not None and answer[name] == true[name] for answer, true in pairs]) for name in EXACT
    ]
    overlaps = [average_overlaps(answer["boxes"], true["boxes"]) if answer else 0.0 for answer, true in pairs]
    return [format_share([answer is not None for answer in parsed]), *right, f"{sum(overlaps) / len(overlaps):.3f}"]


def write_section(answers_of: dict[str, Answers], seconds: dict[str, float], training: Path) -> str:
    """The section, from each checkpoint's answers about the held-out scenes in their order."""
    truths = fields.list_held_out_fields()
    references = [true["caption"] for true in truths]
    rows: list[list[object]] = []
    for checkpoint, answers in answers_of.items():
        rows.append([checkpoint, "vLLM, held to the schema", *measure_fields(answers.by_vllm, truths)])
        rows.append([checkpoint, "transformers, free", *measure_fields(answers.by_transformers, truths)])
    captions = [
        [
            checkpoint,
            format_share([text == true for text, true in zip(answers.captions, references, strict=True)]),
            sum(a == b for a, b in zip(answers.by_vllm, answers.by_transformers, strict=True)),
        ]
        for checkpoint, answers in answers_of.items()
    ]
    return "\n\n".join(
        [
            HEADING,
            "Written by `python -m demo.evaluate_fields`. The checkpoints of `checkpoints-fields/` were asked\n"
            f"`{fields.PROMPT}` about the {len(truths)} held-out scenes; the generator knows the right values.\n"
            "vLLM and transformers both decode greedily in float32. transformers uses no grammar: its column\n"
            "`JSON` shows that the checkpoint itself knows the form.",
            "`JSON`: the answer is JSON with the schema's keys. `caption` to `shape`: the field is right.\n"
            "`boxes`: the intersection over union with the true boxes in their order, first the mean over the\n"
            "boxes of an image, then over the images.",
            format_table(["checkpoint", "decoded by", "JSON", *EXACT, "boxes"], rows),
            f"The captions that vLLM gives to `{scenes.CAPTION_PROMPT}`, and how many answers with fields are\n"
            "the same text by vLLM and by transformers:",
            format_table(["checkpoint", "caption exact", f"same answer, of {len(truths)}"], captions),
            "Training on one thread, on two CPU cores that other work shared, then this measurement:",
            format_table(["checkpoint", "command", "steps", "seconds"], list_training_rows(training)),
            format_table(["what", "seconds"], [[what, f"{value:.1f}"] for what, value in seconds.items()]),
        ]
    )


def replace_section(results: str, section_text: str) -> str:
    """RESULTS.md with this section in the place of the one it has, or at its end."""
    return results.split(HEADING)[0].rstrip("\n") + "\n\n" + section_text + "\n"


def find_section(results: str) -> str:
    """The section that RESULTS.md has; empty when it has none."""
    return results[results.index(HEADING) :].rstrip("\n") if HEADING in results else ""
