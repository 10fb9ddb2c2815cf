"""The LLM judge's question and what its answer means. Its failure is the judge's, never a score of the caption."""

import json
from dataclasses import dataclass, field
from typing import Any

from ray_jobs.contract import Judge

LOW, HIGH = 1, 5
RATIONALE_CHARACTERS = 400


@dataclass(frozen=True)
class Judgement:
    """`values` by metric name; empty with a `failure` when the judge gave no usable answer."""

    values: dict[str, float] = field(default_factory=dict)
    rationale: str | None = None
    failure: str | None = None


SILENT = Judgement(failure="judge-silent")


def question(judge: Judge, caption: str, references: list[str]) -> str:
    """What the judge is asked about one caption."""
    return judge.prompt.replace("{references}", "\n".join(references)).replace("{caption}", caption)


def schema(judge: Judge) -> str:
    """The JSON schema that the judge's answer is held to while it is generated: its rationale first, then verdicts."""
    answers: dict[str, Any] = {name: {"type": "boolean"} for name in judge.criteria}
    if not answers:
        answers = {"score": {"type": "integer", "minimum": LOW, "maximum": HIGH}}
    properties = {"rationale": {"type": "string", "maxLength": RATIONALE_CHARACTERS}, **answers}
    return json.dumps(
        {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    )


def read(judge: Judge, answer: str | None, engine_failure: str | None) -> Judgement:
    """The judgement in an answer. `judge` is the share of criteria that hold, or the score from 1 to 5."""
    if engine_failure or answer is None:
        return Judgement(failure=f"judge-{engine_failure}" if engine_failure else "judge-silent")
    try:
        said = json.loads(answer)
        rationale = str(said["rationale"])
        if judge.criteria:
            held = {name: float(_boolean(said[name])) for name in judge.criteria}
            values = {"judge": sum(held.values()) / len(held), **{f"judge_{name}": held[name] for name in held}}
        else:
            values = {"judge": float(_in_range(said["score"]))}
    except (ValueError, KeyError, TypeError):
        return Judgement(rationale=answer[:RATIONALE_CHARACTERS], failure="judge-invalid-answer")
    return Judgement(values, rationale)


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is not true or false")
    return value


def _in_range(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not LOW <= value <= HIGH:
        raise ValueError(f"{value!r} is not a whole number from {LOW} to {HIGH}")
    return value
