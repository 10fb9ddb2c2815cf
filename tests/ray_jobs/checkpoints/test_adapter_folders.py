"""Folders of adapters: complete or not, and the files that may lie beside."""

import pytest
from samples import checkpoint_files, upload

from ray_jobs.checkpoints import adapter_base, inspect
from ray_jobs.checkpoints.errors import Incomplete
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import objects


def test_an_adapter_is_complete_without_its_base_and_resolved_with_it(uri: str, base: str) -> None:
    assert adapter_base.is_adapter(uri)
    assert "adapter_model.safetensors" in inspect.require_complete(uri)
    checkpoint = inspect.resolve(uri, base)
    assert (checkpoint.uri, checkpoint.name, checkpoint.base) == (uri, "step-1", inspect.resolve(base))
    assert not adapter_base.is_adapter(base)


@pytest.mark.parametrize(
    ("name", "data", "message", "error"),
    [
        ("adapter_model.safetensors", None, "adapter_model.safetensors is missing; wait for the upload", Incomplete),
        ("adapter_model.safetensors", b"1234567", "adapter_model.safetensors: 7 bytes, shorter than a", Incomplete),
        ("adapter_config.json", b'{"peft_ty', "adapter_config.json is not JSON (yet)", Incomplete),
        ("adapter_config.json", None, "config.json is missing; wait for the upload", Incomplete),
        ("adapter_config.json", b'{"peft_type": "IA3"}', "an adapter of type IA3, not LORA", InputError),
    ],
)
def test_an_incomplete_checkpoint_is_an_error_of_one_line(
    local: tuple[str, str], name: str, data: bytes | None, message: str, error: type[Exception]
) -> None:
    uri, base = local
    objects.delete(f"{uri}/{name}") if data is None else objects.write(f"{uri}/{name}", data)
    with pytest.raises(error) as raised:
        inspect.resolve(uri, base)
    assert type(raised.value) is error
    assert str(raised.value).startswith(f"checkpoint {uri}: {message}")


def test_a_truncated_adapter_is_incomplete(local: tuple[str, str]) -> None:
    uri, base = local
    objects.write(f"{uri}/adapter_model.safetensors", objects.read(f"{uri}/adapter_model.safetensors")[:-1])
    with pytest.raises(Incomplete, match=r"adapter_model\.safetensors: truncated, \d+ of \d+ bytes"):
        inspect.resolve(uri, base)


@pytest.mark.parametrize(
    "config", [b'{"architectures": ["Tiny"]}', b'{"quantization_config": {"quant_method": "bnb"}}']
)
def test_an_adapter_beside_the_config_of_its_base_is_an_adapter_still(local: tuple[str, str], config: bytes) -> None:
    """axolotl and unsloth save one so: the weights and the config are the base's."""
    uri, base = local
    before = inspect.resolve(uri, base)
    upload(uri, {"config.json": config})
    checkpoint = inspect.resolve(uri, base)
    assert adapter_base.is_adapter(uri)
    assert checkpoint == before
    assert inspect.sidecar_files(checkpoint)["config.json"] == f"{base}/config.json"


@pytest.mark.parametrize(
    "name",
    ["non_lora_state_dict.bin", "non_lora_trainables.bin", "vit.safetensors", "mm_projector.bin", "model.safetensors"],
)
def test_weights_trained_beside_the_adapter_are_reported(local: tuple[str, str], name: str) -> None:
    """Otherwise the adapter would be merged without them, which is another model than was trained."""
    uri, base = local
    upload(uri, {name: b"weights"})
    with pytest.raises(
        InputError, match=f"{name} holds weights that were trained beside the adapter, and only the adapter"
    ):
        inspect.resolve(uri, base)


@pytest.mark.parametrize("name", ["value_head.safetensors", "optimizer.bin", "training_args.bin", "scheduler.pt"])
def test_other_files_beside_an_adapter_are_ignored(local: tuple[str, str], name: str) -> None:
    uri, base = local
    before = inspect.resolve(uri, base)
    upload(uri, {name: b"weights"})
    assert inspect.resolve(uri, base) == before


def test_an_adapter_beside_a_complete_model_is_refused(local: tuple[str, str]) -> None:
    uri, base = local
    files = {name: data for name, data in checkpoint_files().items() if "-of-" not in name and "index" not in name}
    model = upload(
        base + "-both", files | {"model.safetensors": checkpoint_files()["model-00001-of-00002.safetensors"]}
    )
    upload(
        model, {name: objects.read(f"{uri}/{name}") for name in ("adapter_config.json", "adapter_model.safetensors")}
    )
    with pytest.raises(InputError, match=r"holds a model and an adapter .*; move the adapter to a folder of its own"):
        inspect.resolve(model, base)
