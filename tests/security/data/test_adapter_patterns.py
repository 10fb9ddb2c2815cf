"""Patterns in an adapter's config match as in PEFT, and never take long."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_jobs.checkpoints.lora_config import compute_scale, explain_unsupported
from ray_jobs.checkpoints.module_patterns import find_fault, matches

PLAIN = {"peft_type": "LORA", "r": 4, "lora_alpha": 8}
MODULES = [
    "model.layers.0.self_attn.q_proj", "model.layers.10.self_attn.q_proj", "model.layers.1.self_attn.v_proj",
    "model.visual.blocks.3.attn.qkv", "model.layers.0.mlp.down_proj", "lm_head", "model.layers.0.self_attn.xq_proj",
    "q_proj", "model.layers-0.q_proj", "a" * 30,
]  # fmt: skip
TAKEN = [
    "q_proj", "layers.0.self_attn.q_proj", r"layers\.0\.self_attn\.q_proj", r"layers\.\d+\.self_attn\.(q|v)_proj",
    "[qv]_proj", r".*\.layers\.1.*\.q_proj", r"model\.layers\.([0-9]|10)\.self_attn\.q_proj", ".*", "", "lm_head",
    r"(?:q|v)_proj", r"[^q]_proj", r"^model\.layers\.0\.mlp\.down_proj", "^q_proj", r"q_proj$", r"\w+_proj", "x?q_proj",
    r"layers\.[0-9]+?\.mlp\.down_proj", "(q_proj|v_proj|lm_head)", "(self_attn|mlp)+.down_proj", "a*", "[a-z]+",
    "qkv", "self_attn", "layers.0", "model",
]  # fmt: skip
REFUSED = {
    "the review's": "(x+x+)+y",
    "alternatives that overlap": "(a|aa)+$+",
    "stars of stars": "(a*)*b",
    "plus of plus": "(a+a+)+$",
    "lazy": "(a+?)+?b",
    "three deep": "((a+)+)+b",
    "hidden in a choice": "(b|(a+))+c",
    "optional of a star": "(a*)?b",
    "a count": "a{30}",
    "a count of counts": "(a{1,30}){1,30}b",
    "a huge count": "a{1,4000000000}",
    "a reference": r"(a+)\1",
    "a name": "(?P<n>a)(?P=n)",
    "look ahead": "(?=a+)a",
    "look behind": "(?<=a)b",
    "not ahead": "(?!visual).*",
    "a condition": "(a)?(?(1)b|c)",
    "an atomic group": "(?>a+)b",
    "possessive": "a++b",
    "a flag": "(?i)q_proj",
    "a flag inside": "(?i:q)_proj",
    "no regex": "(q_proj",
    "a bad class": "[z-a]",
    "a space class": r"[\s]",
    "a boundary's class": r"[\D]",
    "301 letters": "a" * 301,
    "100,000 brackets": "(" * 100_000,
    "nested groups without an end": "(" * 299,
    "a bad escape": "\\",
}


@pytest.mark.parametrize("pattern", TAKEN)
def test_a_pattern_matches_what_peft_matches(pattern: str) -> None:
    assert find_fault(pattern) is None
    for module in MODULES:
        assert matches(pattern, module) == bool(re.match(rf"(.*\.)?({pattern})$", module)), module


@given(st.from_regex(r"([ab.]|\[ab\]|\(a\|b\)|a\*|b\+|\.\?){0,6}", fullmatch=True), st.text("ab.", max_size=12))
def test_any_pattern_that_is_taken_matches_what_peft_matches(pattern: str, module: str) -> None:
    assert find_fault(pattern) is None
    assert matches(pattern, module) == bool(re.match(rf"(.*\.)?({pattern})$", module))


@pytest.mark.parametrize("field", ["rank_pattern", "alpha_pattern"])
@pytest.mark.parametrize("pattern", REFUSED.values(), ids=REFUSED.keys())
def test_a_pattern_that_could_take_for_ever_is_refused_by_name(field: str, pattern: str) -> None:
    reason = explain_unsupported(PLAIN | {field: {pattern: 4}})
    assert reason
    assert reason.startswith("its adapter's rank_pattern or alpha_pattern has ")
    assert len(reason) < 400
    with pytest.raises(ValueError, match="has "):
        matches(pattern, "q_proj")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("pattern", ["a*" * 149 + "b", ".*" * 149 + "b", "(a|a)" * 59 + "b", "[ab]*" * 59 + "c"])
def test_the_slowest_patterns_that_are_taken_end(pattern: str) -> None:
    assert find_fault(pattern) is None
    assert not matches(pattern, "a" * 1_000)


def test_too_many_patterns_are_refused() -> None:
    assert "more than 1000" in str(
        explain_unsupported(PLAIN | {"rank_pattern": {f"layers.{n}": 4 for n in range(1_001)}})
    )
    assert explain_unsupported(PLAIN | {"rank_pattern": {f"layers.{n}": 4 for n in range(1_000)}}) is None


def test_the_first_pattern_that_matches_counts() -> None:
    config = PLAIN | {"alpha_pattern": {"_proj": 1, r"layers\.0\..*": 2, "q_proj": 3}}
    assert compute_scale(config, "model.layers.0.q_proj", 4) == 2 / 4
    assert compute_scale(config, "model.layers.1.q_proj", 4) == 3 / 4
    assert compute_scale(config, "model.layers.1.v_proj", 4) == 8 / 4


def test_no_code_of_ours_compiles_an_adapters_pattern() -> None:
    for file in ("lora_config.py", "lora_merge.py"):
        assert "re.match(" not in (Path(__file__).parents[3] / "ray_jobs" / "checkpoints" / file).read_text()
