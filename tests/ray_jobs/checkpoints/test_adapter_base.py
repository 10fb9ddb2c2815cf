"""Adapters as checkpoints: complete or not, with which base, a new fingerprint when either changes, fetched merged."""

import json
from pathlib import Path
from typing import Any

import pytest
from adapters import BASE, MODULE, make_random_pair, read_files, write_adapter
from safetensors.torch import load_file
from samples import checkpoint_files, upload, write_pictures

from ray_jobs import plan
from ray_jobs.checkpoints import adapter_base, fingerprints, inspect, verification
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import objects, specs


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


def test_a_plan_has_the_base_that_the_suite_names_beside_itself(tmp_path: Path) -> None:
    upload(str(tmp_path / "models" / "base"), read_files(BASE))
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
