"""The merged copies of adapters on a node."""

from pathlib import Path

import pytest
import torch
from adapters import BASE, MODULE, make_random_pair, read_files, read_weights, write_adapter
from samples import list_cached, upload
from stage_jobs import DEMO

from ray_jobs.checkpoints import inspect
from ray_jobs.checkpoints.node_cache import fetch
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.engine.compatibility import compatibility_key, tensor_layout
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import objects


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
    upload(base, read_files(other))
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
