"""Parsing the YAML of a suite: every fault is one line that names the setting."""

from typing import Any

import pytest
import yaml
from samples import SUITE, with_value

from ray_jobs.contract.parse_suite import parse_suite
from ray_jobs.inputs.errors import InputError


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("datasett", {}, "unknown key 'datasett'; did you mean 'dataset'?"),
        ("gates", {}, "unknown key 'gates'; did you mean 'gate'?"),
        ("dataset.sorce", "x", "unknown key 'dataset.sorce'; did you mean 'source'?"),
        ("preprocess.max_pixel", 1, "unknown key 'preprocess.max_pixel'; did you mean 'max_pixels'?"),
        ("caption.max_token", 1, "unknown key 'caption.max_token'; did you mean 'max_tokens'?"),
        ("engine.dtypes", "auto", "unknown key 'engine.dtypes'; did you mean 'dtype'?"),
        ("judge.modell", "x", "unknown key 'judge.modell'; did you mean 'model'?"),
        ("judge.engine.replica", 1, "unknown key 'judge.engine.replica'; did you mean 'replicas'?"),
        ("gate.base_line", "none", "unknown key 'gate.base_line'; did you mean 'baseline'?"),
        ("gate.metrics.chrf.margn", 1, "unknown key 'gate.metrics.chrf.margn'; did you mean 'margin'?"),
        ("gate.metrics.chrff", {"margin": 1}, "gate.metrics: unknown metric 'chrff'; did you mean 'chrf'?"),
        ("gate.metrics.characters", {"margin": 1}, "gate.metrics: unknown metric 'characters'"),
        ("gate.metrics.judge", {"margin": 1}, "gate.metrics: unknown metric 'judge'"),
        ("zzzzzz", 1, "unknown key 'zzzzzz'; known: name, dataset, preprocess, caption, engine, metrics, judge, gate"),
    ],
)
def test_an_unknown_key_at_any_level_gets_the_nearest_right_name(path: str, value: Any, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse_suite(yaml.safe_dump(with_value(SUITE, path, value)), "nightly.yaml")
    assert str(error.value).startswith(f"suite nightly.yaml: {message}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "not YAML"),
        ("", "must be a mapping"),
        ("- name", "must be a mapping"),
        ("name: x", "dataset is missing"),
        ("name: x\ndataset: {}", "dataset.source is missing"),
        ("name: a/b\ndataset: {source: x}", "name: String should match"),
        ("name: x\ndataset: {source: x, limit: 0}", "dataset.limit: Input should be greater than 0"),
        ("name: x\ndataset: {source: x}\njudge: {kind: vllm}", "judge: needs `model`"),
        ("name: x\ndataset: {source: x}\njudge: {prompt: hello}", "judge: `prompt` must hold {caption}"),
        ("name: x\ndataset: {source: x}\ngate: {alpha: 0.5}", "gate.alpha: Input should be less than 0.5"),
        ("name: x\ndataset: {source: x}\njudge: {criteria: [Colour]}", "judge.criteria.0: String should match"),
        ("name: x\ndataset: {source: x}\njudge: {criteria: [rationale]}", "judge: `criteria`: 'rationale' is a key"),
        ("name: x\ndataset: {source: x}\njudge: {criteria: [a, score]}", "judge: `criteria`: 'score' is a key of"),
        ("name: x\ndataset: {source: x}\njudge: {criteria: [better]}", "judge: `criteria`: 'better' is a key of"),
    ],
)
def test_a_faulty_suite_is_one_clear_line(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse_suite(text, "s.yaml")
    assert str(error.value).startswith(f"suite s.yaml: {message}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan", "1" + "0" * 400])
@pytest.mark.parametrize(
    "path",
    ["gate.limits.empty.max", "gate.limits.words.min", "gate.metrics.chrf.margin", "judge.timeout_seconds",
     "judge.price.input", "caption.temperature", "preprocess.decode_seconds", "preprocess.max_aspect"],
)  # fmt: skip
def test_no_number_is_infinite_or_nan(path: str, value: str) -> None:
    """JSON would store null, and the spec could not be read again."""
    first, *rest = path.split(".")
    inner = "".join(f"{{{step}: " for step in rest) + value + "}" * len(rest)
    with pytest.raises(InputError) as error:
        parse_suite(f"name: x\ndataset: {{source: x}}\n{first}: {inner}", "s.yaml")
    assert str(error.value).startswith(f"suite s.yaml: {path}: Input should be a ")


def test_a_typo_is_reported_instead_of_the_key_it_hides() -> None:
    with pytest.raises(InputError, match=r"unknown key 'dataset.sorce'"):
        parse_suite("name: x\ndataset: {sorce: y}", "s.yaml")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"judge": {"kind": "vllm"}}, "judge: needs `model`"),
        ({"judge": {"kind": "openai", "model": "m"}}, "judge: needs `base_url` and `model`"),
        ({"judge": {"key_variable": "sk-abc123"}}, "judge.key_variable: String should match"),
        ({"judge": {"pairwise_prompt": "{first}?"}}, "judge: `pairwise_prompt` must hold {first} and {second}"),
        ({"gate": {"limits": {"empty": {}}}}, "gate.limits.empty: needs `max` or `min`"),
        ({"gate": {"limits": {"emty": {"max": 1}}}}, "gate.limits: unknown metric 'emty'; did you mean 'empty'?"),
        ({"metrics": {"own": ["a/Polite.py"]}}, "metrics.own.0: String should match"),
        ({"metrics": {"own": ["a/chrf.py"]}}, "metrics: 'chrf' is there already; rename metrics.own's file"),
        ({"metrics": {"own": ["a/x.py", "b/x.py"]}}, "metrics: 'x' is there already; rename metrics.own's file"),
    ],
)
def test_settings_that_contradict_each_other(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        parse_suite(yaml.safe_dump(SUITE | settings), "s.yaml")
    assert str(error.value).startswith(f"suite s.yaml: {message}")
    assert "\n" not in str(error.value)
