"""The files of a folder that are the model, among any others."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from samples import checkpoint_files, encode_shard, make_record, make_spec, upload

from ray_jobs.checkpoints import fingerprints, inspect, node_cache, verification
from ray_jobs.checkpoints.errors import Incomplete
from ray_jobs.checkpoints.former_fingerprints import find_former_fingerprint
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.engine.compatibility import tensor_layout
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import objects

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
OF_3 = [f"model-{number:05}-of-00003.safetensors" for number in (1, 2, 3)]
FILES = checkpoint_files()
WHOLE = encode_shard({"a": bytes(100), "b": bytes(50)})
BESIDE = {name: FILES[name] for name in ("config.json", "tokenizer.json")}
STALE = BESIDE | {INDEX: FILES[INDEX], SINGLE: WHOLE}
Files = dict[str, bytes]


def index(**files: str) -> bytes:
    return json.dumps({"metadata": {"total_size": 1}, "weight_map": files}).encode()


# --- loaded files -----------------------------------------------------------------------------------------------------

LOADED: dict[str, tuple[Files, list[str]]] = {
    "an index and its shards": (FILES, [FIRST, SECOND]),
    "one file": (BESIDE | {SINGLE: WHOLE}, [SINGLE]),
    "one file, and an index whose shards are gone": (STALE, [SINGLE]),
    "one file, which the index names": (STALE | {INDEX: index(a=SINGLE, b=SINGLE)}, [SINGLE]),
    "one file of another name": (BESIDE | {"weights.safetensors": WHOLE}, ["weights.safetensors"]),
    "two files of other names": (
        BESIDE | {"language.safetensors": FILES[FIRST], "vision.safetensors": FILES[SECOND]},
        ["language.safetensors", "vision.safetensors"],
    ),
    "one shard of one, and no index": (
        BESIDE | {"model-00001-of-00001.safetensors": WHOLE}, ["model-00001-of-00001.safetensors"],
    ),
    "a value head beside one file": (
        BESIDE | {SINGLE: WHOLE, "value_head.safetensors": encode_shard({"v": b"1"})}, [SINGLE]
    ),
    "an empty file beside one file": (BESIDE | {SINGLE: WHOLE, "ema.safetensors": b""}, [SINGLE]),
    "shards left over from a save of three": (FILES | {OF_3[0]: WHOLE, OF_3[2]: b""}, [FIRST, SECOND]),
    "Mistral's own files beside an index": (
        FILES | {"consolidated-00001-of-00001.safetensors": WHOLE, "consolidated.safetensors": WHOLE}, [FIRST, SECOND],
    ),
    "Mistral's own file beside one file": (
        BESIDE | {SINGLE: WHOLE, "consolidated.safetensors": encode_shard({"layers.0.wq": b"1"})}, [SINGLE],
    ),
    "a total_size that is wrong": (FILES | {INDEX: index(a=FIRST, b=SECOND)}, [FIRST, SECOND]),
    "an optimizer beside an index": (FILES | {"optimizer.safetensors": WHOLE}, [FIRST, SECOND]),
}  # fmt: skip


@pytest.mark.parametrize(("files", "loaded_files"), LOADED.values(), ids=LOADED.keys())
def test_the_weights_that_are_loaded(tmp_path: Path, files: Files, loaded_files: list[str]) -> None:
    model = upload(str(tmp_path / "m"), files)
    checkpoint = inspect.resolve(model)
    assert [name for name, _ in checkpoint.files if name.endswith(".safetensors")] == loaded_files
    assert set(tensor_layout(model)) == {"a", "b"}


@pytest.mark.parametrize(("files", "loaded_files"), LOADED.values(), ids=LOADED.keys())
def test_a_library_that_is_given_the_folder_sees_these_files_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: Files, loaded_files: list[str]
) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    checkpoint = inspect.resolve(upload(str(tmp_path / "m"), files))
    folder = node_cache.fetch(checkpoint)
    assert sorted(path.name for path in folder.glob("*.safetensors")) == loaded_files
    assert (folder / INDEX).exists() == (INDEX in dict(checkpoint.files))
    assert all((folder / name).read_bytes() == files[name] for name, _ in checkpoint.files)
    assert node_cache.fetch(checkpoint) == folder
    assert set(tensor_layout(node_cache.find_weights_folder(checkpoint, folder))) == {"a", "b"}


def test_on_s3_these_files_only_are_copied(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    folder = node_cache.fetch(inspect.resolve(upload(f"{s3}/m", STALE | {"results.json": b"{}"})))
    assert {path.name for path in folder.iterdir()} == {*BESIDE, SINGLE}


def test_skipped_files_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = upload(str(tmp_path / "m"), STALE)
    with caplog.at_level(logging.WARNING):
        inspect.resolve(model)
    assert f"checkpoint {model}: passed over, for they are not of the model: {INDEX}" in caplog.text


# --- refused folders --------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[Files, str]] = {
    "one file, and an index with its shards": (
        FILES | {SINGLE: WHOLE}, rf"holds two sets of weights \({SINGLE}, and 2 shards of {INDEX}\): delete one",
    ),
    "one file, and an index with one of its shards": (
        STALE | {FIRST: FILES[FIRST]}, rf"two sets of weights \({SINGLE}, and 1 of 2 shards of {INDEX}\): delete one",
    ),
    "an empty file beside an index and its shards": (FILES | {SINGLE: b""}, rf"two sets of weights \({SINGLE}, and 2 "),
    "shards of two saves, both whole": (
        FILES | dict.fromkeys(OF_3, WHOLE), r"two sets of weights \(3 shards model-\.\.\.-of-00003\S+, and 2 shards",
    ),
    "one file, and shards without an index": (
        BESIDE | {SINGLE: WHOLE, FIRST: FILES[FIRST], SECOND: FILES[SECOND]},
        rf"two sets of weights \({SINGLE}, and 2 ",
    ),
    "two files of the same tensors": (
        BESIDE | {SINGLE: WHOLE, "ema.safetensors": WHOLE}, rf"two sets of weights \({SINGLE}, and ema\.safetensors, ",
    ),
    "one file, and Mistral's own of the same tensors": (
        BESIDE | {SINGLE: WHOLE, "consolidated.safetensors": WHOLE},
        rf"two sets of weights \({SINGLE}, and consolidated",
    ),
    "a tensor in two shards": (
        FILES | {SECOND: encode_shard({"a": b"1", "b": b"2"})},
        rf"a is in {FIRST} and in {SECOND}: files of two saves are mixed",
    ),
    "a tensor in two files without an index": (
        BESIDE | {"x.safetensors": WHOLE, "y.safetensors": FILES[FIRST]},
        r"a is in x\.safetensors and in y\.safetensors",
    ),
    "an index that names a tensor more": (
        FILES | {INDEX: index(a=FIRST, b=SECOND, c=SECOND)}, rf"{INDEX} names c in {SECOND}, which does not hold it",
    ),
    "an index that names a tensor less": (
        FILES | {SECOND: encode_shard({"b": b"2", "c": b"3"})}, rf"{SECOND} holds c, which {INDEX} does not name",
    ),
    "a shard that Git LFS has not fetched": (
        FILES | {SECOND: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"},
        rf"shard 2 of 2 \({SECOND}\): a pointer of Git LFS, not the file; run git lfs pull",
    ),
    "an index that Git LFS has not fetched": (
        FILES | {INDEX: b"version https://git-lfs.github.com/spec/v1\n"},
        rf"{INDEX} is a pointer of Git LFS, not the file",
    ),
    "an index that names a file outside": (
        FILES | {INDEX: index(a=f"../other/{FIRST}", b=SECOND)}, rf"{INDEX} names '../other/{FIRST}', which is no",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("files", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_two_sets_of_weights_are_bad_input(store: str, files: Files, message: str) -> None:
    with pytest.raises(InputError, match=f"checkpoint {store}/m: .*{message}") as error:
        inspect.resolve(upload(f"{store}/m", files))
    assert "\n" not in str(error.value)


def test_one_file_that_is_still_growing_beside_a_stale_index_is_waited_for(tmp_path: Path) -> None:
    with pytest.raises(Incomplete, match=rf"{SINGLE}: truncated"):
        inspect.require_complete(upload(str(tmp_path / "m"), STALE | {SINGLE: WHOLE[:-1]}))


# --- notes ------------------------------------------------------------------------------------------------------------

NOTES = [
    "results.json", "results_2026-11-30.json", "eval_mmmu.json", "mmmu_val_score.json", "args.json", "notes.txt",
    "training_args.json", "trainer_state.json", "README.md", "log.txt", "wandb-metadata.json", "all_results.json",
    "predictions.safetensors.json", "my_template.jinja", "tokenizer_report.json", "model_card.json",
    "config_of_the_run.json", "model.safetensors.md5", "train_config.json",
]  # fmt: skip
PARTS = [
    "generation_config.json", "tokenizer_config.json", "vocab.json", "merges.txt", "preprocessor_config.json",
    "processor_config.json", "video_preprocessor_config.json", "image_processor_config.json", "added_tokens.json",
    "special_tokens_map.json", "chat_template.jinja", "chat_template.json", "tekken.json", "spiece.model",
    "tokenizer.model", "unigram.json", "qwen.tiktoken", "hf_quant_config.json", "quantize_config.json",
    "tokenizer.4.45.0.json",
]  # fmt: skip


@pytest.mark.parametrize("name", NOTES)
def test_a_note_makes_it_no_other_checkpoint_whenever_it_comes_and_goes(store: str, name: str) -> None:
    model = upload(f"{store}/m", FILES)
    checkpoint = inspect.resolve(model)
    for content in (b"{}", b'{"accuracy": 1}', None):
        objects.delete(f"{model}/{name}") if content is None else objects.write(f"{model}/{name}", content)
        verification.verify(checkpoint)
        assert inspect.resolve(model) == checkpoint


@pytest.mark.parametrize("name", PARTS)
def test_what_is_loaded_makes_it_another(tmp_path: Path, name: str) -> None:
    model = upload(str(tmp_path / "m"), FILES | {name: b"{}"})
    checkpoint = inspect.resolve(model)
    assert checkpoint.fingerprint != fingerprints.compute_fingerprint(upload(str(tmp_path / "without"), FILES))
    objects.write(f"{model}/{name}", b"{ }")
    with pytest.raises(InputError, match=f"checkpoint {model}: {name} was overwritten since this run was planned; "):
        verification.verify(checkpoint)


def test_the_demos_fingerprints_are_those_that_records_have() -> None:
    folder = Path(__file__).parents[3] / "demo" / "checkpoints"
    assert fingerprints.compute_fingerprint(str(folder / "step-0800")) == DEMO_FINGERPRINT
    assert all(fingerprints.compute_former_fingerprint(str(path)) is None for path in folder.iterdir())


DEMO_FINGERPRINT = "85c1c95b59276a97"  # as main had it before there was an allow-list


# --- a fingerprint of before ------------------------------------------------------------------------------------------


def publish_run(root: str, fingerprint: str) -> None:
    spec = make_spec(root=root, fingerprint=fingerprint, called="m")
    objects.write(f"{spec.run_uri}/record.json", make_record(spec).model_dump_json().encode())


def test_a_checkpoint_with_notes_is_found_under_the_fingerprint_that_it_had(tmp_path: Path) -> None:
    root, model = str(tmp_path / "root"), upload(str(tmp_path / "m"), FILES | {"args.json": b"{}"})
    former, current = fingerprints.compute_former_fingerprint(model), inspect.resolve(model)
    assert former
    assert former != current.fingerprint
    assert find_former_fingerprint(root, current) == {}
    publish_run(root, former)
    planned = current.model_copy(update=find_former_fingerprint(root, current))
    assert planned.fingerprint == former
    verification.verify(planned)
    publish_run(root, current.fingerprint)
    assert find_former_fingerprint(root, current) == {}


def test_a_spec_of_before_is_verified_by_the_fingerprint_of_before(tmp_path: Path) -> None:
    model = upload(str(tmp_path / "m"), FILES | {"args.json": b"{}"})
    former = fingerprints.compute_former_fingerprint(model)
    assert former
    checkpoint = Checkpoint(uri=model, name="m", fingerprint=former)
    verification.verify(checkpoint)
    objects.write(f"{model}/config.json", b'{"architectures": ["Other"]}')
    with pytest.raises(InputError, match="overwritten since this run was planned"):
        verification.verify(checkpoint)


# --- what happened since it was planned -------------------------------------------------------------------------------


def delete(model: str, *names: str) -> None:
    for name in names:
        objects.delete(f"{model}/{name}")


SINCE: dict[str, tuple[Callable[[str], object], str]] = {
    "overwritten": (
        lambda model: objects.write(f"{model}/config.json", b"{}"), "config.json was overwritten since this run was",
    ),
    "two overwritten": (
        lambda model: upload(model, {"config.json": b"{}", SECOND: b"x"}), "config.json and 1 more were overwritten",
    ),
    "deleted": (
        lambda model: delete(model, *FILES), "was deleted since this run was planned",
    ),
    "half deleted": (
        lambda model: delete(model, FIRST, SECOND),
        f"{FIRST} and 1 more were deleted since this run was planned",
    ),
    "its config deleted": (
        lambda model: objects.delete(f"{model}/config.json"), "config.json was deleted since this run was planned",
    ),
    "a part added": (
        lambda model: objects.write(f"{model}/chat_template.jinja", b"x"), "chat_template.jinja was added since this ",
    ),
    "a second set of weights added": (
        lambda model: objects.write(f"{model}/{SINGLE}", WHOLE), f"holds two sets of weights .{SINGLE}, and 2 shards",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), SINCE.values(), ids=SINCE.keys())
def test_what_happened_since_it_was_planned_is_named(store: str, change: Callable[[str], object], message: str) -> None:
    checkpoint = inspect.resolve(upload(f"{store}/m", FILES))
    change(checkpoint.uri)
    with pytest.raises(InputError, match=f"checkpoint {checkpoint.uri}: {message}"):
        verification.verify(checkpoint)


@pytest.mark.parametrize("deleted", [[*FILES], ["config.json"], ["tokenizer.json", SECOND]], ids=str)
def test_deleted_files_are_reported_before_a_file_is_opened(tmp_path: Path, deleted: list[str]) -> None:
    from ray_jobs.engine.probe.checkpoint_probe import probe

    checkpoint = inspect.resolve(upload(str(tmp_path / "m"), FILES))
    for name in deleted:
        (tmp_path / "m" / name).unlink()
    with pytest.raises(InputError, match="deleted since this run was planned; keep checkpoints until"):
        probe(checkpoint)
