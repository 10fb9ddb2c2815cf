# ruff: noqa: E501 (a case is a line of a table)
"""A setting without an effect is refused in one line with the reason and the remedy."""

from typing import Any

import pytest
import yaml
from samples import SUITE, with_value

from ray_jobs.contract.parse_suite import parse_suite
from ray_jobs.contract.suite import Suite
from ray_jobs.contract.unused_settings import find_doubts
from ray_jobs.inputs.errors import InputError

VLLM = {"kind": "vllm", "model": "/m"}
OPENAI = {"kind": "openai", "model": "m", "base_url": "http://127.0.0.1:9/v1"}
LABELLED = {"source": "/data/images", "label": "class"}
UNUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a judge without its kind": ({"judge": {"model": "/m"}}, "judge.model: there is no judge to use it; set judge.kind"),
    "a judge that is switched off": (
        {"judge": OPENAI | {"kind": "none"}}, "judge.model: there is no judge to use it; set judge.kind to vllm or openai"),
    "criteria of no judge": ({"judge": {"criteria": ["colour"]}}, "judge.criteria: there is no judge to use it"),
    "an endpoint of an engine": (
        {"judge": VLLM | {"base_url": "http://127.0.0.1:9/v1"}},
        "judge.base_url: nothing uses it with kind vllm; take it out, or set judge.kind: openai"),
    "a key of an engine": ({"judge": VLLM | {"key_variable": "ASSAY_JUDGE_B_KEY"}}, "judge.key_variable: nothing uses it"),
    "tries of an engine": ({"judge": VLLM | {"tries": 3}}, "judge.tries: nothing uses it with kind vllm"),
    "concurrency of an engine": ({"judge": VLLM | {"concurrency": 4}}, "judge.concurrency: nothing uses it with kind vllm"),
    "an engine of an endpoint": (
        {"judge": OPENAI | {"engine": {"max_num_seqs": 8}}},
        "judge.engine: nothing uses it with kind openai; take it out, or set judge.kind: vllm"),
    "a question about pairs": (
        {"judge": VLLM | {"pairwise_prompt": "{first} or {second}?"}}, "judge.pairwise_prompt: no pair is judged; set"),
    "an audit of the judge": ({"judge": VLLM | {"engine": {"audit": 8}}}, "judge.engine.audit: only captions are audited"),
    "a cold engine that stays": (
        {"engine": {"kind": "ray_data_llm", "keep_seconds": 60}},
        "engine.keep_seconds: it is for warm engines, and with kind ray_data_llm there is none; take it out"),
    "renderers of a cold engine": ({"engine": {"kind": "ray_data_llm", "renderers": 2}}, "engine.renderers: it is for warm"),
    "a quantised engine that stays": (
        {"engine": {"quantization": "fp8", "keep_seconds": 60}}, "engine.keep_seconds: it is for warm engines, and with qu"),
    "a judge's cold engine that stays": (
        {"judge": VLLM | {"engine": {"kind": "ray_data_llm", "keep_seconds": 60}}}, "judge.engine.keep_seconds: it is for"),
    "clusters of no label": ({"gate": {"cluster": "label"}}, "gate.cluster: there are no labels; set dataset.label"),
    "a margin of everything": (
        {"gate": {"metrics": {"empty": {"margin": 5}}}},
        "gate.metrics.empty: no checkpoint could fail by a margin of 5, because all values are from 0 to 1; lower it"),
    "a limit in percent": (
        {"gate": {"limits": {"empty": {"max": 5}}}},
        "gate.limits.empty: max 5 decides nothing, because all values are from 0 to 1; correct it"),
    "a limit of another scale": (
        {"judge": VLLM, "gate": {"limits": {"judge": {"min": 0.5}}}}, "gate.limits.judge: min 0.5 decides nothing"),
    "a limit below zero": ({"gate": {"limits": {"words": {"min": -1}}}}, "gate.limits.words: min -1 decides nothing"),
    "references that are not there": (
        {"judge": VLLM | {"prompt": "{caption} {references}"}}, "judge.prompt holds {references}, and there are none; set"),
    "a mistyped place": (
        {"judge": VLLM | {"prompt": "{caption} {Caption}"}}, "judge.prompt holds {Caption}, and nothing is put in there; did"),
    "a place in the singular": (
        {"judge": VLLM | {"prompt": "{caption} {reference}"}},
        "judge.prompt holds {reference}, and nothing is put in there; did you mean {references}?"),
    "a place with spaces": (
        {"judge": VLLM | {"prompt": "{caption} { caption }"}}, "judge.prompt holds { caption }, and nothing is put in there; did you mean {caption}?"),
    "a place of the other question": (
        {"judge": VLLM | {"pairwise": True, "pairwise_prompt": "{first} {second} {caption}"}},
        "judge.pairwise_prompt holds {caption}, and nothing is put in there; take it out"),
    "a place for the image": (
        {"caption": {"prompt": "{image} Describe it."}}, "caption.prompt holds {image}, and nothing is put in there; take"),
    "a place in the caption's prompt": (
        {"caption": {"prompt": "Describe this {label}."}}, "caption.prompt holds {label}, and nothing is put in there; take"),
}  # fmt: skip


@pytest.mark.parametrize(("sections", "message"), UNUSED.values(), ids=UNUSED.keys())
def test_it_is_refused_in_a_line(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        parse_suite(yaml.safe_dump(SUITE | sections), "s")
    assert str(error.value).startswith(f"suite s: {message}")
    assert "\n" not in str(error.value)


USED: dict[str, dict[str, Any]] = {
    "settings at their defaults": {"judge": {"kind": "none", "pairwise": False, "tries": 6, "engine": {}}},
    "the price of an engine": {"judge": VLLM | {"price": {"input": 1.0}}},
    "an endpoint's own": {"judge": OPENAI | {"tries": 3, "concurrency": 2, "key_variable": "ASSAY_JUDGE_B_KEY"}},
    "an engine's own": {"judge": VLLM | {"engine": {"keep_seconds": 9, "renderers": 1}}},
    "a warm engine's": {"engine": {"keep_seconds": 9, "renderers": 1, "audit": 3}},
    "the audit of a cold engine, by hand": {"engine": {"kind": "ray_data_llm", "audit": 3}},
    "references": {
        "dataset": {"source": "/data/images", "references": "captions"}, "judge": VLLM | {"prompt": "{caption}{references}"},
        "gate": {"metrics": {"chrf": {"margin": 1}}, "limits": {"exact_match": {"min": 0.5}}},
    },
    "labels": {
        "dataset": LABELLED, "metrics": {"synonyms": "s.json"},
        "gate": {"cluster": "label", "metrics": {"label_hit": {"margin": 0.1}}},
    },
    "limits at the ends": {"gate": {"limits": {"empty": {"max": 1, "min": 0}, "words": {"max": 400}}}},
    "a judge's scale": {"judge": VLLM, "gate": {"metrics": {"judge": {"margin": 0.5}}, "limits": {"judge": {"min": 3}}}},
    "braces of JSON": {"judge": VLLM | {"prompt": 'Rate {caption}. Answer {"score": 4} or {x}.'}},
    "braces in a caption's prompt": {"caption": {"prompt": 'Answer {"objects": [...]} for {scene}.'}},
}  # fmt: skip


@pytest.mark.parametrize("sections", USED.values(), ids=USED.keys())
def test_what_is_used_is_taken(sections: dict[str, Any]) -> None:
    assert parse_suite(yaml.safe_dump(SUITE | sections), "s").name == "small"


DOUBTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "synonyms": ({"metrics": {"synonyms": "s.json"}}, ["metrics.synonyms: nothing uses it without labels"]),
    "a gate": ({"gate": {"metrics": {"chrf": {"margin": 1}}}}, ["gate.metrics.chrf: it has no value without references"]),
    "a limit": ({"gate": {"limits": {"label_hit": {"min": 0.5}}}}, ["gate.limits.label_hit: it has no value without label"]),
    "nothing": ({"gate": {"limits": {"empty": {"max": 0.5}}}}, []),
}  # fmt: skip


@pytest.mark.parametrize(("sections", "message"), DOUBTS.values(), ids=DOUBTS.keys())
def test_settings_without_effect_for_lack_of_references_or_labels_are_reported(
    sections: dict[str, Any], message: list[str]
) -> None:
    doubts = find_doubts(parse_suite(yaml.safe_dump(SUITE | sections), "s"))
    assert [doubt.partition(";")[0] for doubt in doubts] == message


def test_what_was_stored_earlier_stays_readable() -> None:
    assert Suite.model_validate(with_value(SUITE, "judge.model", "/m")).judge.kind == "none"
