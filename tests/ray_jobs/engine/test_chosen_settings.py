import json
from pathlib import Path

import pytest

from ray_jobs.contract.sections.engine import Engine
from ray_jobs.contract.sections.preprocess import Preprocess
from ray_jobs.engine.chosen_settings import (
    MAX_SEQUENCES,
    ModelSizes,
    Workload,
    choose_settings,
    expect_workload,
    max_sequences,
    read_model_sizes,
)

H200, L4 = 143_771 << 20, 23_034 << 20
SMALL, LARGE = ModelSizes(7_500_000_000, 36_864), ModelSizes(16_600_000_000, 57_344)  # Qwen2.5-VL, 3B and 7B


@pytest.mark.parametrize(
    ("sizes", "gpu_bytes", "workload", "sequences", "tokens"),
    [
        (SMALL, H200, Workload(295, 64), 1024, 6144),  # the fastest of those that were measured
        (LARGE, H200, Workload(295, 64), 1024, 6144),
        (SMALL, H200, Workload(1100, 128), 1024, 10240),
        (SMALL, H200, Workload(295, 8), 1024, 16384),  # no step is larger
        (SMALL, L4, Workload(295, 64), 576, 16384),
        (LARGE, L4, Workload(295, 64), 8, 16384),  # weights leave no room: vLLM itself says so
    ],
)
def test_what_has_room_is_chosen(
    sizes: ModelSizes, gpu_bytes: int, workload: Workload, sequences: int, tokens: int
) -> None:
    chosen, line = choose_settings(Engine(), workload, sizes, gpu_bytes)
    assert (chosen.max_num_seqs, chosen.max_num_batched_tokens) == (sequences, tokens)
    assert line.startswith(f"max_num_seqs {sequences} and max_num_batched_tokens {tokens} are chosen: a request takes ")


def test_two_engines_on_a_gpu_share_its_memory() -> None:
    chosen, _ = choose_settings(Engine(gpu_memory_utilization=0.2), Workload(1100, 256), SMALL, H200)
    assert chosen.max_num_seqs == 320


def test_what_the_suite_says_stays() -> None:
    given = Engine(max_num_seqs=32, max_num_batched_tokens=8192)
    assert choose_settings(given, Workload(), SMALL, H200) == (given, "")
    chosen, _ = choose_settings(Engine(max_num_seqs=32), Workload(), SMALL, H200)
    assert (chosen.max_num_seqs, chosen.max_num_batched_tokens) == (32, 16384)
    chosen, _ = choose_settings(Engine(max_num_batched_tokens=8192), Workload(), SMALL, H200)
    assert (chosen.max_num_seqs, chosen.max_num_batched_tokens) == (1024, 8192)


def test_a_step_has_room_for_the_longest_prompt() -> None:
    chosen, _ = choose_settings(Engine(max_model_len=32768), Workload(295, 64), SMALL, H200)
    assert chosen.max_num_batched_tokens == 32768


def test_on_a_cpu_nothing_is_chosen() -> None:
    assert choose_settings(Engine(), Workload(), SMALL, None) == (Engine(), "")
    assert (max_sequences(Engine(), False), max_sequences(Engine(), True)) == (256, MAX_SEQUENCES)


def test_the_sizes_are_those_of_the_language_model(tmp_path: Path) -> None:
    text = {"num_attention_heads": 16, "num_key_value_heads": 2, "num_hidden_layers": 36, "hidden_size": 2048}
    (tmp_path / "config.json").write_text(json.dumps({"text_config": text | {"dtype": "bfloat16"}}))
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 1000)
    assert read_model_sizes(tmp_path, tmp_path, Engine()) == ModelSizes(1000, 36_864)
    assert read_model_sizes(tmp_path, tmp_path, Engine(dtype="float32")) == ModelSizes(1000, 73_728)
    assert read_model_sizes(tmp_path, tmp_path, Engine(quantization="fp8")) == ModelSizes(600, 36_864)


@pytest.mark.parametrize(
    "config", ["{}", "[]", "no JSON", '{"text_config": {"num_attention_heads": 0, "hidden_size": 1}}']
)
def test_a_config_without_sizes_leaves_the_defaults(tmp_path: Path, config: str) -> None:
    (tmp_path / "config.json").write_text(config)
    sizes = read_model_sizes(tmp_path, tmp_path, Engine())
    assert sizes is None
    chosen, line = choose_settings(Engine(), Workload(), sizes, H200)
    assert (chosen.max_num_seqs, chosen.max_num_batched_tokens) == (256, 16384)
    assert line.endswith("the model's config does not say what a token takes")


def test_an_image_has_a_token_per_patch() -> None:
    assert expect_workload(Preprocess(max_pixels=28 * 28 * 100), "words" * 8, 64) == Workload(100 + 10 + 30, 64)
