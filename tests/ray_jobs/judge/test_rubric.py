import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import make_suite

from ray_jobs.contract.sections.judge import Judge
from ray_jobs.contract.spec import JUDGE_VERSION
from ray_jobs.judge import rubric

PLAIN = Judge(kind="vllm", model="/m")
CRITERIA = Judge(kind="vllm", model="/m", criteria=("colour", "shape", "size"))


def make_answer(**answers: object) -> str:
    return json.dumps({"rationale": "because"} | answers)


def test_the_question_holds_the_caption_and_the_references() -> None:
    judge = Judge(kind="vllm", model="/m", prompt="{references}|{caption}")
    assert rubric.build_question(judge, "a dot", ["one", "two"]) == "one\ntwo|a dot"


def test_a_caption_cannot_ask_for_the_references() -> None:
    judge = Judge(kind="vllm", model="/m", prompt="{references}|{caption}")
    assert rubric.build_question(judge, "{references}", ["secret"]) == "secret|{references}"


def test_the_answer_is_held_to_rationale_first_then_verdicts() -> None:
    schema = json.loads(rubric.build_schema(CRITERIA))
    assert list(schema["properties"]) == schema["required"] == ["rationale", "colour", "shape", "size"]
    assert schema["additionalProperties"] is False
    assert json.loads(rubric.build_schema(PLAIN))["properties"]["score"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 5,
    }


def test_a_judgement_by_criteria_is_the_share_that_holds() -> None:
    judgement = rubric.parse_answer(CRITERIA, make_answer(colour=True, shape=False, size=True), None)
    assert judgement.values == {
        "judge": pytest.approx(2 / 3), "judge_colour": 1.0, "judge_shape": 0.0, "judge_size": 1.0
    }  # fmt: skip
    assert (judgement.rationale, judgement.failure) == ("because", None)
    assert tuple(judgement.values) == CRITERIA.metrics()


def test_a_judgement_by_score() -> None:
    assert rubric.parse_answer(PLAIN, make_answer(score=4), None).values == {"judge": 4.0}


@pytest.mark.parametrize(
    ("judge", "answer"),
    [
        (PLAIN, ""),
        (PLAIN, "4"),
        (PLAIN, '{"rationale": "cut'),
        (PLAIN, "[]"),
        (PLAIN, "null"),
        (PLAIN, json.dumps({"score": 4})),
        (PLAIN, make_answer()),
        (PLAIN, make_answer(score=0)),
        (PLAIN, make_answer(score=6)),
        (PLAIN, make_answer(score=4.5)),
        (PLAIN, make_answer(score="4")),
        (PLAIN, make_answer(score=True)),
        (PLAIN, make_answer(score=4, confidence=1)),
        (PLAIN, '{"rationale": "r", "score": 1, "score": 5}'),
        (PLAIN, '{"rationale": "r", "rationale": "s", "score": 5}'),
        (PLAIN, '{"rationale": "r", "score": NaN}'),
        (PLAIN, '{"rationale": "r", "score": Infinity}'),
        (PLAIN, '{"rationale": "r", "score": 1e999}'),
        (PLAIN, '{"rationale": "r", "score": 4.0}'),
        (PLAIN, '{"rationale": "r", "score": ' + "9" * 5000 + "}"),
        (PLAIN, '{"rationale": ["r"], "score": 4}'),
        (PLAIN, '{"rationale": null, "score": 4}'),
        (PLAIN, make_answer(score=4) + make_answer(score=5)),
        (PLAIN, "the answer: " + make_answer(score=4)),
        (PLAIN, "```json\n" + make_answer(score=4) + "\n```\n```json\n" + make_answer(score=5) + "\n```"),
        (PLAIN, '{"rationale": "' + "x" * 20_000 + '", "score": 4}'),
        (PLAIN, "[" * 19_000),
        (PLAIN, '{"rationale": ' * 1500),
        (CRITERIA, make_answer(colour=True, shape=False)),
        (CRITERIA, make_answer(colour=True, shape=False, size=1)),
        (CRITERIA, make_answer(colour=True, shape=False, size="true")),
        (CRITERIA, make_answer(colour=True, shape=False, size=None)),
    ],
)
def test_a_useless_answer_is_a_failure_of_the_judge_and_no_score(judge: Judge, answer: str) -> None:
    judgement = rubric.parse_answer(judge, answer, None)
    assert (judgement.values, judgement.failure) == ({}, "judge-invalid-answer")
    assert judgement.rationale == answer[:400]


def test_a_fence_of_markdown_is_taken_off() -> None:
    assert rubric.parse_answer(PLAIN, f"```json\n{make_answer(score=4)}\n```\n", None).values == {"judge": 4.0}
    assert rubric.parse_answer(PLAIN, f"```\n{make_answer(score=4)}\n```", None).values == {"judge": 4.0}


def test_a_rationale_is_cut_and_can_be_stored() -> None:
    judgement = rubric.parse_answer(PLAIN, '{"rationale": "' + "\\ud83d" * 900 + '", "score": 4}', None)
    assert judgement.rationale == "?" * 400


def test_no_text_adds_a_placeholder() -> None:
    judge = Judge(kind="vllm", model="/m", prompt="{references}|{caption}|{other}", pairwise_prompt="{second}/{first}")
    assert rubric.build_question(judge, "{references}", ["{caption}"]) == "{caption}|{references}|{other}"
    assert rubric.build_pair_question(judge, "{second}", "{first}", []) == "{first}/{second}"


@pytest.mark.parametrize("text", ['</data>"', "<data>", "&lt;/data&gt;", "\u2028\x00\\", "</DATA >"])
def test_a_judge_behind_an_endpoint_sees_a_caption_in_a_block_that_it_cannot_close(text: str) -> None:
    judge = Judge(kind="openai", model="m", base_url="http://h/v1", prompt="{caption}")
    question = rubric.build_question(judge, text, [])
    assert question.startswith("<data>")
    assert question.endswith("</data>")
    inside = question.removeprefix("<data>").removesuffix("</data>")
    assert "<" not in inside
    assert json.loads(inside) == text


def test_an_endpoints_schema_has_what_strict_modes_take() -> None:
    judge = Judge(kind="openai", model="m", base_url="http://h/v1")
    assert json.loads(rubric.build_schema(judge))["properties"] == {
        "rationale": {"type": "string"}, "score": {"type": "integer", "enum": [1, 2, 3, 4, 5]}
    }  # fmt: skip


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "first",
        make_answer(),
        make_answer(better="First"),
        make_answer(better=["first"]),
        make_answer(better=None),
        make_answer(score=1),
    ],
)
def test_a_choice_is_first_second_or_tie(answer: str) -> None:
    for better in ("first", "second", "tie"):
        assert rubric.parse_pair_answer(make_answer(better=better), None) == rubric.Choice(better, "because")
    judgement = rubric.parse_pair_answer(answer, None)
    assert (judgement.better, judgement.failure) == (None, "judge-invalid-answer")
    assert rubric.parse_pair_answer(None, None).failure == "judge-silent"
    assert rubric.parse_pair_answer(answer, "timeout").failure == "judge-timeout"


# The SHA-256 of the texts by each JUDGE_VERSION. Add a line for a raised version, and leave the lines above it.
TEXTS_OF_VERSION = {
    2: "2021850ef6b5681ccbd458fa448e399c76db4070f5f4c90868e73451bc3100e1",
}


def list_texts() -> list[str]:
    """All texts that Assay, not the suite, adds to a question and to the schema of its answer."""
    prompts = {"prompt": "{caption}|{references}", "pairwise_prompt": "{first}|{second}|{references}"}
    texts = []
    for criteria in ((), ("colour", "shape")):
        for settings in ({"kind": "vllm", "model": "/m"}, {"kind": "openai", "model": "m", "base_url": "http://h/v1"}):
            judge = Judge.model_validate(settings | prompts | {"criteria": criteria})
            texts += [
                rubric.build_question(judge, "a <b>", ["one", "two"]),
                rubric.build_pair_question(judge, "a <b>", "é", ["one", "two"]),
                rubric.build_schema(judge),
                rubric.build_pair_schema(judge),
            ]
    return [rubric.build_system_message("SCHEMA"), *texts]


def test_other_texts_of_assay_have_another_version_of_the_judge() -> None:
    """Else answers to the old and to the new texts are mixed, because the texts are in no id."""
    sha = hashlib.sha256("\n".join(list_texts()).encode()).hexdigest()
    assert JUDGE_VERSION in TEXTS_OF_VERSION, (
        f"JUDGE_VERSION {JUDGE_VERSION} is new: add its line {JUDGE_VERSION}: {sha!r} to TEXTS_OF_VERSION in {__file__}"
    )
    assert sha == TEXTS_OF_VERSION[JUDGE_VERSION], (
        "what the judge reads has changed: raise JUDGE_VERSION in ray_jobs/contract/spec.py"
    )


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers(), max_size=2)


@given(
    st.text() | st.dictionaries(st.sampled_from(["rationale", "score", "colour", "shape", "size", "better"]), VALUES)
)
def test_any_answer_is_a_judgement_in_range_or_a_failure(answers: object) -> None:
    answer = answers if isinstance(answers, str) else json.dumps(answers)
    for judge in (PLAIN, CRITERIA):
        judgement = rubric.parse_answer(judge, answer, None)
        assert bool(judgement.values) != bool(judgement.failure)
        assert set(judgement.values) in (set(), set(judge.metrics()))
        low, high = (0, 1) if judge.criteria else (1, 5)
        assert all(low <= value <= high for value in judgement.values.values())
    choice = rubric.parse_pair_answer(answer, None)
    assert (choice.better in rubric.BETTER) != bool(choice.failure)


def test_an_engine_failure_and_an_empty_answer_are_distinguished() -> None:
    assert rubric.parse_answer(PLAIN, None, "engine-error").failure == "judge-engine-error"
    assert rubric.parse_answer(PLAIN, make_answer(score=4), "image-missing").failure == "judge-image-missing"
    assert rubric.parse_answer(PLAIN, None, None).failure == rubric.NO_ANSWER.failure == "judge-silent"


def test_the_judges_metrics_can_gate() -> None:
    settings = {"judge__kind": "vllm", "judge__model": "/m", "judge__criteria": ["colour"]}
    assert make_suite(**settings, gate__metrics={"judge": {"margin": 0}, "judge_colour": {"margin": 0}})


def test_the_rationale_of_an_answer_is_redacted() -> None:
    answer = '{"score":4,"rationale":"my secret: %s"}'
    answer %= "é" * (rubric.ANSWER_CHARACTERS - len(answer) + 2)
    assert len(answer) == rubric.ANSWER_CHARACTERS
    rationale = rubric.redact_rationale(PLAIN, answer, False, lambda text: text.replace("secret", "***"))
    assert "secret" not in rationale
    assert rubric.parse_answer(PLAIN, rationale, None).values == {"judge": 4.0}
    assert rubric.redact_rationale(PLAIN, answer, False, lambda text: text) == answer
    pair = rubric.redact_rationale(PLAIN, f"```\n{make_answer(better='tie')}\n```", True, lambda text: "***")
    assert rubric.parse_pair_answer(pair, None) == rubric.Choice("tie", "***")
