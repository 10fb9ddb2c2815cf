import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from torch import Tensor

from ray_jobs.contract.spec import Checkpoint
from ray_jobs.engine.compatibility import compatibility_key, first_difference, tensor_layout

DEMO = Path(__file__).parents[3] / "demo"
CHECKPOINTS = DEMO / "checkpoints"
GOOD = CHECKPOINTS / "step-0800"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOOD, tmp_path / "copy"))


def key_of(folder: Path) -> str:
    return compatibility_key(Checkpoint(uri=str(folder), name=folder.name, fingerprint="of no matter"))


def weights_of(folder: Path) -> dict[str, Tensor]:
    return {name: tensor for shard in folder.glob("*.safetensors") for name, tensor in load_file(shard).items()}


def save_shards(weights: dict[str, Tensor], folder: Path, cuts: int) -> None:
    """Save the weights as the shards of the folder, in place of its own."""
    for shard in folder.glob("*.safetensors"):
        shard.unlink()
    names = sorted(weights)
    files = {f"model-{cut + 1:05d}-of-{cuts:05d}.safetensors": names[cut::cuts] for cut in range(cuts)}
    for file, tensor_names in files.items():
        save_file({name: weights[name].clone() for name in tensor_names}, folder / file)
    index = {
        "metadata": {},
        "weight_map": {name: file for file, tensor_names in files.items() for name in tensor_names},
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_checkpoints_of_one_run_are_alike_and_the_judge_of_another_training_is_not() -> None:
    run = {key_of(folder) for folder in CHECKPOINTS.iterdir() if folder.name.startswith("step-")}
    assert run == {key_of(GOOD)}
    assert key_of(DEMO / "judge") not in run


def test_other_weights_other_cuts_and_other_savers_do_not_count(copy: Path) -> None:
    save_shards({name: tensor + 1 for name, tensor in weights_of(copy).items()}, copy, cuts=5)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"transformers_version": "9", "_name_or_path": "elsewhere"}))
    (copy / "trainer_state.json").write_text("{}")
    assert key_of(copy) == key_of(GOOD)


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "chat_template.jinja", "generation_config.json"])
def test_everything_else_counts(copy: Path, file: str) -> None:
    path = copy / file
    assert path.exists()
    text = path.read_text()
    path.write_text(text.replace("{", '{"added": 1, ', 1) if file.endswith(".json") else text + " ")
    assert key_of(copy) != key_of(GOOD)


def test_a_tensor_less_or_more_or_of_another_kind_is_named(copy: Path) -> None:
    layout, weights = tensor_layout(GOOD), weights_of(copy)
    assert first_difference(layout, tensor_layout(copy)) is None
    name = sorted(weights)[3]
    for tensors, message in (
        ({key: value for key, value in weights.items() if key != name}, f"{name} is missing"),
        (weights | {"zzz": weights[name].clone()}, "zzz is one too many"),
        (weights | {name: weights[name].float()}, f"{name} is F32"),
        (weights | {name: weights[name].reshape(-1).clone()}, f"{name} is BF16["),
    ):
        save_shards(tensors, copy, cuts=2)
        assert message in str(first_difference(layout, tensor_layout(copy)))
        assert key_of(copy) != key_of(GOOD)
