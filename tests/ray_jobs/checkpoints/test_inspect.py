import json
import os
import shutil
from pathlib import Path

import pytest
from samples import checkpoint_files, encode_shard, upload

from ray_jobs.checkpoints import fingerprints, inspect, verification
from ray_jobs.checkpoints.errors import Incomplete, NeverWhole
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import objects, uris

FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
INDEX = "model.safetensors.index.json"


@pytest.fixture
def model(store: str) -> str:
    return upload(f"{store}/models/step-1", checkpoint_files())


def replace_file(uri: str, name: str, data: bytes | None) -> None:
    objects.delete(f"{uri}/{name}") if data is None else objects.write(f"{uri}/{name}", data)


def test_a_complete_checkpoint(model: str) -> None:
    checkpoint = inspect.resolve(model)
    assert (checkpoint.uri, checkpoint.name, len(checkpoint.fingerprint)) == (model, "step-1", 16)
    assert set(inspect.require_complete(model)) == set(checkpoint_files())


def test_one_file_without_an_index_is_complete_too(store: str) -> None:
    files = checkpoint_files()
    single = {name: files[name] for name in ("config.json", "tokenizer.json")} | {"model.safetensors": files[FIRST]}
    assert inspect.require_complete(upload(f"{store}/single", single))


GOOD = checkpoint_files()
HEADER = int.from_bytes(GOOD[SECOND][:8], "little")


@pytest.mark.parametrize(
    ("name", "data", "message", "error"),
    [
        (SECOND, None, f"shard 2 of 2 is missing ({SECOND}); wait for the upload", Incomplete),
        (SECOND, GOOD[SECOND][:-1], f"shard 2 of 2 ({SECOND}): truncated, {len(GOOD[SECOND]) - 1} of", Incomplete),
        (SECOND, GOOD[SECOND][: 8 + HEADER], f"shard 2 of 2 ({SECOND}): truncated, ", Incomplete),
        (SECOND, GOOD[SECOND][:20], f"shard 2 of 2 ({SECOND}): truncated inside its header (20 bytes)", Incomplete),
        (SECOND, b"1234567", f"shard 2 of 2 ({SECOND}): 7 bytes, shorter than a header", Incomplete),
        (SECOND, b"", f"shard 2 of 2 ({SECOND}): 0 bytes, shorter than a header", Incomplete),
        (FIRST, b"<!DOCTYPE html><html></html>", f"shard 1 of 2 ({FIRST}): not a safetensors file", InputError),
        (FIRST, b"\4\0\0\0\0\0\0\0nope", f"shard 1 of 2 ({FIRST}): its header is not readable", InputError),
        (FIRST, b"\x0a\0\0\0\0\0\0\0{\"a\": {}}\n", f"shard 1 of 2 ({FIRST}): its header is not readable", InputError),
        ("config.json", None, "config.json is missing; wait for the upload or delete the checkpoint", Incomplete),
        ("config.json", b"<html>", "config.json is not JSON (yet)", Incomplete),
        ("config.json", b"[]", "config.json is not a JSON object", InputError),
        ("config.json", b"{}", "config.json names no `architectures`; save it with save_pretrained", InputError),
        ("config.json", b'{"architectures": []}', "config.json names no `architectures`", InputError),
        ("tokenizer.json", None, "the tokenizer is missing (tokenizer.json), and the weights are whole", NeverWhole),
        (INDEX, None, f"{INDEX} is missing; wait for the upload or delete the checkpoint", Incomplete),
        (INDEX, b'{"weight_map"', f"{INDEX} is not JSON (yet)", Incomplete),
        (INDEX, b"{}", f"{INDEX} names no shards; save the checkpoint again", InputError),
    ],
)  # fmt: skip
def test_an_incomplete_checkpoint_is_an_error_of_one_line(
    store: str, name: str, data: bytes | None, message: str, error: type[Exception]
) -> None:
    model = upload(f"{store}/models/step-1", checkpoint_files())
    replace_file(model, name, data)
    with pytest.raises(error) as raised:
        inspect.resolve(model)
    assert type(raised.value) is error
    assert str(raised.value).startswith(f"checkpoint {model}: {message}")
    assert "\n" not in str(raised.value)


def test_a_download_with_holes_in_its_files_is_waited_for(model: str) -> None:
    objects.write(f"{model}/{SECOND}.aria2", b"x")
    with pytest.raises(Incomplete, match=rf"{SECOND}\.aria2 is there, so the download of {SECOND} has not ended; wait"):
        inspect.require_complete(model)
    objects.delete(f"{model}/{SECOND}.aria2")
    objects.write(f"{model}/notes.aria2", b"of nothing that is here")
    assert inspect.require_complete(model)


def test_a_folder_around_an_adapter_or_a_snapshot_is_reported(store: str) -> None:
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        objects.write(f"{store}/run/default/{name}", b"{}")
    with pytest.raises(NeverWhole, match=rf"the adapter is in default/; name {store}/run/default"):
        inspect.require_complete(f"{store}/run")
    cache = f"{store}/models--a--b"
    for place in ("blobs/0a", "refs/main", "snapshots/0b/config.json"):
        objects.write(f"{cache}/{place}", b"{}")
    with pytest.raises(NeverWhole, match=rf"in the cache of the Hugging Face hub; name {cache}/snapshots/0b"):
        inspect.require_complete(cache)


def test_nothing_there(store: str) -> None:
    uri = f"{store}/models/step-9"
    with pytest.raises(Incomplete, match=f"checkpoint {uri}: nothing is there; check the URI"):
        inspect.resolve(uri)


def test_no_weights_yet(store: str) -> None:
    files = {name: data for name, data in checkpoint_files().items() if not name.startswith("model")}
    with pytest.raises(Incomplete, match=r"no \.safetensors file yet"):
        inspect.resolve(upload(f"{store}/m", files))


def test_an_upload_is_complete_only_with_its_last_file(store: str) -> None:
    files = checkpoint_files()
    order = ["tokenizer.json", FIRST, INDEX, "config.json", SECOND]
    for name in order[:-1]:
        objects.write(f"{store}/m/{name}", files[name])
        with pytest.raises(Incomplete):
            inspect.require_complete(f"{store}/m")
    objects.write(f"{store}/m/{SECOND}", files[SECOND])
    assert inspect.require_complete(f"{store}/m")


def test_a_copy_under_another_name_is_the_same_checkpoint(store: str, model: str) -> None:
    copy = upload(f"{store}/backup/best", checkpoint_files())
    assert fingerprints.compute_fingerprint(copy) == fingerprints.compute_fingerprint(model)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", FIRST, SECOND])
def test_one_changed_byte_is_another_checkpoint(store: str, model: str, name: str) -> None:
    before = fingerprints.compute_fingerprint(model)
    local = uris.local_path(model)
    stat = (local / name).stat() if local else None
    data = bytearray(objects.read(f"{model}/{name}"))
    data[-1] ^= 1
    objects.write(f"{model}/{name}", bytes(data))
    if local and stat:
        os.utime(local / name, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert (local / name).stat().st_mtime_ns == stat.st_mtime_ns
    assert fingerprints.compute_fingerprint(model) != before


@pytest.mark.parametrize(
    "name",
    ["optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin", "README.md", "trainer_state.json",
     "global_step300/bf16_zero_pp_rank_0.pt", "runs/events.tfevents", "logs/x.json"],
)  # fmt: skip
def test_training_files_beside_the_model_do_not_change_its_fingerprint(model: str, name: str) -> None:
    before = fingerprints.compute_fingerprint(model)
    objects.write(f"{model}/{name}", b"{}")
    assert fingerprints.compute_fingerprint(model) == before


def test_verify_notices_an_overwrite_in_place(model: str) -> None:
    checkpoint = inspect.resolve(model)
    verification.verify(checkpoint)
    objects.write(f"{model}/{SECOND}", encode_shard({"b": bytes(100)}))
    with pytest.raises(InputError, match=f"checkpoint {model}: {SECOND} was overwritten since this run was planned; "):
        verification.verify(checkpoint)


def test_the_demo_checkpoints_are_complete_and_differ() -> None:
    folder = Path(__file__).parents[3] / "demo" / "checkpoints"
    checkpoints = [inspect.resolve(str(path)) for path in sorted(folder.iterdir())]
    assert len({checkpoint.fingerprint for checkpoint in checkpoints}) == len(checkpoints) == 5


def test_a_truncated_shard_is_never_complete(tmp_path: Path) -> None:
    source = Path(__file__).parents[3] / "demo" / "checkpoints" / "step-0800"
    model = tmp_path / "m"
    shutil.copytree(source, model)
    data = (model / SECOND).read_bytes()
    header = int.from_bytes(data[:8], "little")
    assert json.loads(data[8 : 8 + header])
    for size in (0, 7, 8, 9, 8 + header - 1, 8 + header, 8 + header + 1, len(data) // 2, len(data) - 1):
        (model / SECOND).write_bytes(data[:size])
        with pytest.raises(Incomplete):
            inspect.require_complete(str(model))
