import json
import pickle
import shutil
from pathlib import Path

import pytest

from ray_jobs.contract.sections.engine import Engine
from ray_jobs.engine.settings import build_warm_config

pytestmark = pytest.mark.slow  # they import vLLM

CHECKPOINTS = Path(__file__).parents[4] / "demo" / "checkpoints"


def hash_config(path: Path, **engine: int) -> tuple[str, str]:
    """The hash by which vLLM names compiled code: without the checkpoint's path, and as vLLM itself makes it."""
    from ray_jobs.engine.vllm_plugin.compile_key import compile_for_any_checkpoint

    config = build_warm_config(Engine(dtype="float32", max_model_len=512).model_copy(update=engine), False, str(path))
    hash_of_vllm = config.compute_hash()
    compile_for_any_checkpoint(config)
    sent = pickle.loads(pickle.dumps(config))  # as vLLM sends it to its own process
    assert sent.compute_hash() == config.compute_hash()
    assert sent.model_config.model == str(path)
    return str(config.compute_hash()), hash_of_vllm


def test_checkpoints_of_one_architecture_share_compiled_code() -> None:
    (first, own_of_first), (second, own_of_second) = (
        hash_config(CHECKPOINTS / name) for name in ("step-0800", "step-0809")
    )
    assert first == second
    assert own_of_first != own_of_second  # else vLLM has changed, and compile_key is no longer needed


def test_another_architecture_or_setting_has_its_own_compiled_code(tmp_path: Path) -> None:
    wider = tmp_path / "wider"
    shutil.copytree(CHECKPOINTS / "step-0800", wider)
    config = wider / "config.json"
    settings = json.loads(config.read_text())
    settings["text_config"]["rms_norm_eps"] *= 10
    config.write_text(json.dumps(settings))
    hashes = {
        hash_config(CHECKPOINTS / "step-0800")[0],
        hash_config(wider)[0],
        hash_config(CHECKPOINTS / "step-0800", max_num_batched_tokens=4096)[0],
    }
    assert len(hashes) == 3
