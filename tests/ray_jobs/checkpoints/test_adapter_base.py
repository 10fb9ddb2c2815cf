"""Adapters as checkpoints: whole or not, over which base, another one when either changes, fetched merged."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import CONFIG, make_random_pair, read_weights, write_adapter
from safetensors.torch import load_file
from samples import checkpoint_files, list_cached, upload, write_pictures
from stage_jobs import DEMO

from ray_jobs import plan
from ray_jobs.checkpoints import adapter_base, fingerprints, inspect, verification
from ray_jobs.checkpoints.errors import Incomplete
from ray_jobs.checkpoints.lora_config import explain_unsupported
from ray_jobs.checkpoints.node_cache import fetch
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.engine.compatibility import compatibility_key, tensor_layout
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import objects, specs

BASE = DEMO / "checkpoints" / "step-0300"
MODULE = "model.language_model.layers.0.self_attn.q_proj"


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def adapter_files(tmp_path: Path, seed: int = 0, **config: Any) -> dict[str, bytes]:
    return files_of(write_adapter(tmp_path / f"made-{seed}", {MODULE: make_random_pair((96, 96), 4, seed)}, **config))


@pytest.fixture
def base(store: str) -> str:
    return upload(f"{store}/base", files_of(BASE))


@pytest.fixture
def uri(store: str, tmp_path: Path) -> str:
    """An adapter as a trainer leaves it, with the trainer's notes and states beside it."""
    beside = {"README.md": b"of a base", "optimizer.pt": b"large", "trainer_state.json": b"{}"}
    return upload(f"{store}/run/step-1", adapter_files(tmp_path) | beside)


@pytest.fixture
def local(tmp_path: Path) -> tuple[str, str]:
    """An adapter and its base in directories."""
    return upload(str(tmp_path / "step-1"), adapter_files(tmp_path)), upload(str(tmp_path / "base"), files_of(BASE))


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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"peft_type": "LOHA"}, "an adapter of type LOHA, not LORA"),
        ({"use_dora": True}, r"not a plain LoRA \(use_dora is set\)"),
        ({"bias": "lora_only"}, r"trains biases \(bias: lora_only\)"),
        ({"init_lora_weights": "pissa_niter_16"}, r"began by changing the base \(init_lora_weights: pissa_niter_16\)"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out is set"),
        ({"layer_replication": [[0, 2]]}, "layer_replication is set"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices is set"),
        ({"alora_invocation_tokens": [7]}, "alora_invocation_tokens is set"),
        ({"target_parameters": ["experts.down_proj"]}, "target_parameters is set"),
        ({"of_a_peft_to_come": {"factor": 2}}, "of_a_peft_to_come is set"),
        ({"r": 0}, "r, or what rank_pattern has, is not above zero"),
        ({"rank_pattern": {"q_proj": "8"}}, "r, or what rank_pattern has, is not above zero"),
        ({"rank_pattern": [8]}, "rank_pattern or alpha_pattern is not an object"),
        ({"lora_alpha": None}, "lora_alpha, or what alpha_pattern has, is not a number"),
    ],
)
def test_a_config_that_a_merge_cannot_honour(settings: dict[str, Any], message: str) -> None:
    assert explain_unsupported(CONFIG) is None
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(explain_unsupported(CONFIG | settings))


@pytest.mark.parametrize("began", [True, False, "gaussian", "eva", "orthogonal"])
def test_a_beginning_that_leaves_the_base_alone_is_fine(began: Any) -> None:
    assert explain_unsupported(CONFIG | {"init_lora_weights": began}) is None


# --- the base ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base_name", [None, "", "Qwen/Qwen2.5-VL-3B-Instruct", "./base", "/nowhere/base"])
def test_a_missing_base_is_the_suites_or_an_error_of_one_line(tmp_path: Path, base_name: str | None) -> None:
    adapter = str(
        write_adapter(tmp_path / "a", {MODULE: make_random_pair((96, 96), 4, 0)}, base_model_name_or_path=base_name)
    )
    assert adapter_base.find_base(adapter, str(BASE)) == str(BASE)
    with pytest.raises(
        InputError, match=f"^checkpoint {adapter}: .*'{base_name or ''}' is neither .*engine.base_model"
    ):
        inspect.resolve(adapter)


def test_a_base_that_the_adapter_can_name_comes_before_the_suites(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_BASES", str(BASE.parent))
    pairs = {MODULE: make_random_pair((96, 96), 4, 0)}
    for number, base_name in enumerate((str(BASE), f"file://{BASE}", f"{BASE}/")):
        adapter = write_adapter(tmp_path / str(number), pairs, base_model_name_or_path=base_name)
        assert adapter_base.find_base(str(adapter), str(tmp_path / "other")) == str(BASE)


def test_a_base_on_s3_named_by_the_adapter(tmp_path: Path, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_BASES", f"s3://others, {s3}")
    settings: dict[str, Any] = {"base_model_name_or_path": f"{s3}/base/"}
    adapter = write_adapter(tmp_path / "adapter", {MODULE: make_random_pair((96, 96), 4, 0)}, **settings)
    assert adapter_base.find_base(str(adapter), str(BASE)) == f"{s3}/base"


def test_an_adapter_over_an_adapter_is_refused(tmp_path: Path) -> None:
    first = write_adapter(
        tmp_path / "first", {MODULE: make_random_pair((96, 96), 4, 0)}, base_model_name_or_path=str(BASE)
    )
    second = write_adapter(tmp_path / "second", {MODULE: make_random_pair((96, 96), 4, 1)})
    for base in (first, second):  # itself even
        with pytest.raises(InputError, match=f"its base model {base} is an adapter itself"):
            inspect.resolve(str(second), str(base))


@pytest.mark.parametrize("where", ["config.json", "hf_quant_config.json"])
def test_an_adapter_over_quantised_weights_is_refused(tmp_path: Path, where: str) -> None:
    config = {"architectures": ["Tiny"]} | (
        {"quantization_config": {"quant_method": "bitsandbytes"}} if "hf" not in where else {}
    )
    files = checkpoint_files() | {"hf_quant_config.json": b"{}", "config.json": json.dumps(config).encode()}
    if where == "config.json":
        del files["hf_quant_config.json"]
    base = upload(str(tmp_path / "base"), files)
    adapter = str(write_adapter(tmp_path / "a", {MODULE: make_random_pair((96, 96), 4, 0)}))
    with pytest.raises(InputError, match=rf"its base model {base} is quantised \((bitsandbytes|modelopt)\)"):
        inspect.resolve(adapter, base)


def test_an_incomplete_base_is_reported(local: tuple[str, str]) -> None:
    uri, base = local
    objects.delete(f"{base}/tokenizer.json")
    objects.delete(f"{base}/tokenizer_config.json")
    with pytest.raises(InputError, match=f"checkpoint {base}: the tokenizer is missing"):
        inspect.resolve(uri, base)


# --- which one it is --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file_name", ["run/step-1/adapter_model.safetensors", "run/step-1/adapter_config.json", "base/config.json"]
)
def test_one_changed_byte_of_either_is_another_checkpoint(store: str, uri: str, base: str, file_name: str) -> None:
    before = inspect.resolve(uri, base)
    verification.verify(before)
    data = bytearray(objects.read(f"{store}/{file_name}"))
    data[-1] ^= 1
    objects.write(f"{store}/{file_name}", bytes(data))
    assert fingerprints.compute_fingerprint(uri, before.base and before.base.model_copy(update={
        "fingerprint": fingerprints.compute_fingerprint(base)})) != before.fingerprint  # fmt: skip
    place = f"{store}/{file_name}".rpartition("/")[0]
    with pytest.raises(
        InputError,
        match=f"checkpoint {place}: {file_name.rpartition('/')[2]} was overwritten since this run was planned",
    ):
        verification.verify(before)


def test_a_checkpoint_that_is_no_adapter_keeps_its_fingerprint(tmp_path: Path) -> None:
    checkpoint = inspect.resolve(upload(str(tmp_path / "m"), checkpoint_files()))
    assert (checkpoint.fingerprint, checkpoint.base) == ("ab743f83e028c956", None)


# --- a copy to load ---------------------------------------------------------------------------------------------------


def test_a_merged_copy_is_made_once_and_is_the_same_from_any_storage(
    uri: str, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    checkpoint = inspect.resolve(uri, base)
    local = fetch(checkpoint)
    assert local == tmp_path / "cache" / checkpoint.fingerprint
    assert inspect.require_complete(str(local))
    assert {path.name for path in local.iterdir()} == {path.name for path in BASE.iterdir()}
    weights, expected = read_weights(local), read_weights(BASE)
    down, up = make_random_pair((96, 96), 4, 0)
    name = "model.layers.0.self_attn.q_proj.weight"
    expected[name] = (expected[name].float() + (up @ down) * 4).to(torch.bfloat16)
    assert all(torch.equal(weights[tensor_name], expected[tensor_name]) for tensor_name in expected)
    before = {path: path.stat().st_mtime_ns for path in local.iterdir()}
    assert fetch(checkpoint) == local
    assert {path: path.stat().st_mtime_ns for path in local.iterdir()} == before
    assert not [name for name in list_cached(local.parent) if name.startswith(".")]


def test_files_beside_the_bases_weights_are_not_merged(
    local: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    uri, base = local
    before = inspect.resolve(uri, base)
    expected = read_weights(fetch(before))
    upload(base, {"ema.safetensors": objects.read(f"{base}/model-00001-of-00002.safetensors"), "results.json": b"{}"})
    after = inspect.resolve(uri, base)
    assert after == before
    weights = read_weights(fetch(after, tmp_path / "own"))
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert len(list((tmp_path / "cache").glob(".linked-*"))) == 1


def test_a_base_overwritten_meanwhile_leaves_no_copy(
    uri: str, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    checkpoint = inspect.resolve(uri, base)
    other = DEMO / "checkpoints" / "step-0200"
    upload(base, files_of(other))
    with pytest.raises(
        InputError, match=rf"checkpoint {base}: \S+ and 1 more were overwritten since this run was planned"
    ):
        fetch(checkpoint)
    assert list_cached(tmp_path / "cache") == []


def test_an_adapter_that_does_not_fit_leaves_no_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    adapter = write_adapter(tmp_path / "adapter", {MODULE: make_random_pair((96, 128), 4, 0)})
    with pytest.raises(InputError, match=rf"^checkpoint {adapter}: {MODULE}\.lora_A\.weight is for \[96, 128\]"):
        fetch(inspect.resolve(str(adapter), str(BASE)))
    assert list_cached(tmp_path / "cache") == []


def compatibility_of(uri: Path | str, base: str | None = None) -> tuple[Checkpoint, str]:
    checkpoint = inspect.resolve(str(uri), base)
    return checkpoint, compatibility_key(checkpoint)


def test_adapters_are_like_their_base_but_for_a_tokenizer_or_template_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So one warm engine serves them all, and a model that was trained with another template is prompted with it."""
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    pair = {MODULE: make_random_pair((96, 96), 4, 0)}
    plain, with_biases = compatibility_of(write_adapter(tmp_path / "plain", pair), str(BASE))
    assert with_biases == compatibility_of(BASE)[1]
    assert tensor_layout(fetch(plain)) == tensor_layout(BASE)
    assert with_biases == compatibility_of(fetch(plain))[1]

    own_adapter = write_adapter(tmp_path / "own", pair)
    (own_adapter / "chat_template.jinja").write_text("{{ messages }}")
    likeness, other = compatibility_of(own_adapter, str(BASE))
    assert other != with_biases
    local = fetch(likeness)
    assert (local / "chat_template.jinja").read_text() == "{{ messages }}"
    assert (local / "tokenizer.json").read_bytes() == (BASE / "tokenizer.json").read_bytes()
    assert other == compatibility_of(local)[1]


def test_a_plan_has_the_base_that_the_suite_names_beside_itself(tmp_path: Path) -> None:
    upload(str(tmp_path / "models" / "base"), files_of(BASE))
    adapter = write_adapter(tmp_path / "run" / "step-1", {MODULE: make_random_pair((96, 96), 4, 0)})
    write_pictures(tmp_path / "images", 2)
    suite = tmp_path / "nightly.yaml"
    settings: dict[str, Any] = {"name": "nightly", "dataset": {"source": "images"}}
    suite.write_text(json.dumps(settings | {"engine": {"base_model": "models/base"}}))
    spec = plan.plan(str(tmp_path / "root"), str(suite), str(adapter), by_hand=True)
    assert spec.checkpoint.base == inspect.resolve(str(tmp_path / "models" / "base"))
    assert specs.load_spec(spec.uri) == spec
    base = plan.plan(str(tmp_path / "root"), str(suite), str(tmp_path / "models" / "base"), by_hand=True)
    assert base.series_id == spec.series_id  # so that an adapter can be compared with its base
    assert base.caption_id != spec.caption_id


def test_an_adapter_can_be_the_judge(tmp_path: Path) -> None:
    judge = write_adapter(tmp_path / "judge", {MODULE: make_random_pair((96, 96), 4, 0)})
    write_pictures(tmp_path / "images", 2)
    suite = tmp_path / "nightly.yaml"
    judge_settings = {"kind": "vllm", "model": "judge", "engine": {"base_model": str(BASE)}}
    suite.write_text(json.dumps({"name": "nightly", "dataset": {"source": "images"}, "judge": judge_settings}))
    spec = plan.plan(str(tmp_path / "root"), str(suite), str(BASE), by_hand=True)
    assert spec.judge == inspect.resolve(str(judge), str(BASE))


def test_an_adapters_file_is_what_peft_writes(tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "made", {MODULE: make_random_pair((96, 96), 4, 0)})
    names = {f"base_model.model.{MODULE}.lora_A.weight", f"base_model.model.{MODULE}.lora_B.weight"}
    assert set(load_file(adapter / "adapter_model.safetensors")) == names
