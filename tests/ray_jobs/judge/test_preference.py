"""Pairs in both orders: preferences, contradictions, and missing answers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from judge_endpoint import KEY, Reply, answer_reply, completion, error_reply, serve_endpoint
from judge_inputs import make_judge_spec, with_baseline, write_judge_inputs

from ray_jobs.contract.artifacts import Manifest, Part
from ray_jobs.contract.spec import Spec
from ray_jobs.judge.preference import commit_preferences, compare_part, read_preferences
from ray_jobs.judge.run import run_judge
from ray_jobs.storage import manifests, objects

THEIRS = {f"image-{number}": f"theirs {number}" for number in range(6)}
OURS = {f"image-{number}": f"ours {number}" for number in range(6)}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_JUDGE_KEY", KEY)


def judge_pairs(
    root: Path, choose: Callable[[str], Reply], ours: dict[str, str | None], theirs: dict[str, str | None], **judge: Any
) -> tuple[Spec, dict[str, dict[str, Any]], Manifest]:
    """The preferences when the endpoint answers each pair as `choose` says."""

    def behave(text: str, before: int) -> Reply:
        return choose(text) if "Which caption" in text else answer_reply(score=3)

    with serve_endpoint(behave) as endpoint:
        other = write_judge_inputs(make_judge_spec(str(root), endpoint.url, pairwise=True, **judge), theirs)
        spec = with_baseline(
            write_judge_inputs(make_judge_spec(str(root), endpoint.url, "step-2", pairwise=True, **judge), ours), other
        )
        run_judge(spec, [spec.caption_id, other.caption_id])
    captions = manifests.require_manifest(spec.captions_uri, "caption")
    compared_parts = [
        Part.model_validate_json(compare_part({"part": part.name}, spec)["part"]) for part in captions.parts
    ]
    rows = {row["image_id"]: row for part in captions.parts for row in read_preferences(spec, part.name)}
    return spec, rows, commit_preferences(spec, captions, compared_parts)


def position(text: str) -> str:
    """The position of our caption in the question."""
    return "first" if "ours" in text.partition("Second: ")[0] else "second"


def other(place: str) -> str:
    return {"first": "second", "second": "first"}[place]


@pytest.mark.parametrize(
    ("choose", "preference"),
    [
        (lambda text: answer_reply(better=position(text)), 1.0),
        (lambda text: answer_reply(better=other(position(text))), -1.0),
        (lambda text: answer_reply(better="tie"), 0.0),
    ],
)
def test_a_judge_that_agrees_with_itself_is_believed(
    tmp_path: Path, choose: Callable[[str], Reply], preference: float
) -> None:
    _, rows, manifest = judge_pairs(tmp_path, choose, dict(OURS), dict(THEIRS))
    assert {row["preference"] for row in rows.values()} == {preference}
    assert {(row["consistent"], row["failure"], row["rationale"]) for row in rows.values()} == {(True, None, "so")}
    assert (manifest.rows_in, manifest.rows_out, manifest.lost) == (6, 6, {})
    assert (manifest.details["asked"], manifest.details["position_bias"]) == (6, 0.0)


@pytest.mark.parametrize(
    "choose",
    [
        lambda text: answer_reply(better="first"),
        lambda text: answer_reply(better="second"),
        lambda text: answer_reply(better="first" if position(text) == "first" else "tie"),
    ],
)
def test_a_judge_that_contradicts_itself_shows_its_position_bias(
    tmp_path: Path, choose: Callable[[str], Reply]
) -> None:
    _, rows, manifest = judge_pairs(tmp_path, choose, dict(OURS), dict(THEIRS))
    assert {(row["preference"], row["consistent"], row["failure"]) for row in rows.values()} == {(0.0, False, None)}
    assert manifest.details["position_bias"] == 1.0
    assert manifest.details["inconsistent"] == 6


def test_equal_captions_are_a_tie_without_asking(tmp_path: Path) -> None:
    def never(text: str) -> Reply:
        raise AssertionError(text)

    _, rows, manifest = judge_pairs(tmp_path, never, dict(OURS), dict(OURS))
    assert {(row["preference"], row["consistent"], row["failure"]) for row in rows.values()} == {(0.0, None, None)}
    assert (manifest.details["equal"], manifest.details["asked"]) == (6, 0)
    assert manifest.details["position_bias"] is None


def test_what_cannot_be_compared_is_missing_with_its_reason(tmp_path: Path) -> None:
    def choose(text: str) -> Reply:
        if "ours 3" in text and position(text) == "second":
            return error_reply(500)
        if "ours 4" in text:
            return Reply(body=completion('{"rationale": "r", "better": "both"}'))
        return answer_reply(better=position(text))

    ours, theirs = OURS | {"image-1": None}, THEIRS | {"image-2": None, "image-5": ""}
    spec, rows, manifest = judge_pairs(tmp_path, choose, ours, theirs)
    assert {name: row["failure"] for name, row in rows.items() if row["failure"]} == {
        "image-1": "no-caption", "image-2": "no-caption", "image-3": "judge-server-error",
        "image-4": "judge-invalid-answer",
    }  # fmt: skip
    assert [rows[name]["preference"] for name in OURS] == [1.0, None, None, None, None, 1.0]
    assert manifest.lost == {"judge-invalid-answer": 1, "judge-server-error": 1, "no-caption": 2}
    assert (manifest.rows_in, manifest.rows_out) == (6, 2)
    assert manifest.details["equal"] + manifest.details["asked"] == manifest.rows_out
    totals = json.loads(objects.read(f"{spec.run_uri}/judge.json"))
    assert totals["failed"] == {
        "judge-invalid-answer": 2,
        "judge-server-error": 1,
    }  # one order of one pair, both of one
    assert totals["questions"] == totals["answered"] + 3 == 5 + 5 + 2 * 4


def test_preferences_stand(tmp_path: Path) -> None:
    spec, rows, manifest = judge_pairs(
        tmp_path, lambda text: answer_reply(better=position(text)), dict(OURS), dict(THEIRS)
    )
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    again = [compare_part({"part": part.name}, spec)["part"] for part in manifest.parts]
    assert [Part.model_validate_json(part) for part in again] == list(manifest.parts)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    assert len(rows) == 6


def test_the_references_stand_beside_the_pair(tmp_path: Path) -> None:
    questions: list[str] = []

    def choose(text: str) -> Reply:
        questions.append(text)
        return answer_reply(better="tie")

    prompt = "Which caption is nearer to {references}? {first} or {second}"
    judge_pairs(
        tmp_path, choose, {"image-0": "{second} ours"}, {"image-0": "{references} theirs"}, pairwise_prompt=prompt
    )
    assert len(questions) == 2
    assert all('"a picture of image-0"' in text for text in questions)
    assert all(text.count("<data>") == 3 for text in questions)
    assert {text.index('"{second} ours"') < text.index('"{references} theirs"') for text in questions} == {True, False}
