"""vLLM loads exactly the files that were checked, even with others beside them."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dev.trainer_folders import write_single
from ray_jobs.checkpoints import inspect
from ray_jobs.checkpoints.node_cache import fetch
from ray_jobs.checkpoints.weights import INDEX
from ray_jobs.contract.sections.engine import Engine
from ray_jobs.engine.settings import build_warm_config, vllm_arguments

DEMO = Path(__file__).parents[3] / "demo" / "checkpoints" / "step-0800"
pytestmark = pytest.mark.slow  # they import vLLM


@pytest.fixture
def two_sets(tmp_path: Path) -> Path:
    """A checkpoint that also has other weights and another config, in Mistral's file names."""
    folder = tmp_path / "step-1"
    shutil.copytree(DEMO, folder)
    weights = {name: 0 * tensor for shard in folder.glob("*.safetensors") for name, tensor in load_file(shard).items()}
    save_file(weights, folder / "consolidated.safetensors", {"format": "pt"})
    (folder / "params.json").write_text(json.dumps({"dim": 8, "n_layers": 1}))
    return folder


@pytest.mark.parametrize("kind", ["warm", "other"])
def test_consolidated_weights_beside_an_index_are_not_loaded(two_sets: Path, kind: str) -> None:
    from vllm.config import LoadConfig
    from vllm.model_executor.model_loader import get_model_loader

    from ray_jobs.engine.vllm_plugin import model_loader  # noqa: F401  # which makes the warm engine's known

    known = vllm_arguments(Engine(), has_gpu=False)["load_format"] if kind == "other" else "assay"
    loader = get_model_loader(LoadConfig(load_format=known))
    _, files, safe = loader._prepare_weights(str(two_sets), None, None, True, None)
    indexed = set(json.loads((two_sets / INDEX).read_text())["weight_map"].values())
    assert safe
    assert {Path(file).name for file in files} == indexed
    assert inspect.require_complete(str(two_sets))


@pytest.mark.parametrize("kind", ["assay", "safetensors"])
def test_vllm_reads_the_complete_file_beside_a_stale_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    from vllm.config import LoadConfig
    from vllm.model_executor.model_loader import get_model_loader

    from ray_jobs.engine.vllm_plugin import model_loader  # noqa: F401  # which makes the warm engine's known

    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "step-1"
    shutil.copytree(DEMO, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    write_single(folder / "model.safetensors", DEMO.parent / "step-0200")
    save_file({"ema": torch.zeros(2)}, folder / "ema.safetensors")
    loader = get_model_loader(LoadConfig(load_format=kind))
    with pytest.raises(FileNotFoundError):
        loader._prepare_weights(str(folder), None, None, True, None)
    fetched = fetch(inspect.resolve(str(folder)))
    _, files, safe = loader._prepare_weights(str(fetched), None, None, True, None)
    assert safe
    assert [Path(file).name for file in files] == ["model.safetensors"]
    assert load_file(files[0]).keys() == load_file(folder / "model.safetensors").keys()
    assert build_warm_config(Engine(max_model_len=512), False, str(fetched)).model_config.hf_config.architectures


def test_the_config_that_was_checked_is_the_engines(two_sets: Path) -> None:
    config = build_warm_config(Engine(max_model_len=512), False, str(two_sets)).model_config.hf_config
    assert config.architectures == json.loads((two_sets / "config.json").read_text())["architectures"]


class Strict:
    """A model of one layer whose loader only asserts, as vLLM's own layers do."""

    def __init__(self, fault: Exception | None) -> None:
        self.fault = fault

    def load_weights(self, weights: Iterator[tuple[str, Any]]) -> None:
        for name, _ in weights:
            if self.fault and name.endswith("layers.1.mlp.down_proj.weight"):
                raise self.fault


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (AssertionError(), r"model\.layers\.1\.mlp\.down_proj\.weight of shape \[96, 288\] does not fit the model"),
        (
            RuntimeError("The size of tensor a (3) must match that of tensor b (4)"),
            r"of shape \[96, 288\] does not fit",
        ),
        (RuntimeError("start (0) + length (288) exceeds dimension size (287)."), r"of shape \[96, 288\] does not fit"),
        (RuntimeError("CUDA error: an illegal memory access"), "CUDA error: an illegal memory access"),
    ],
    ids=["an assertion", "sizes", "a part beyond it", "the GPU's own error"],
)
def test_the_tensor_that_does_not_fit_is_named(fault: Exception, message: str) -> None:
    from vllm.config import LoadConfig, set_current_vllm_config

    from ray_jobs.engine.vllm_plugin.model_loader import CheckpointLoader

    config = build_warm_config(Engine(max_model_len=512), False, str(DEMO))
    loader = CheckpointLoader(LoadConfig(load_format="assay"))
    with set_current_vllm_config(config):
        loader.load_weights(Strict(None), config.model_config)
        with pytest.raises((ValueError, RuntimeError), match=message):
            loader.load_weights(Strict(fault), config.model_config)
