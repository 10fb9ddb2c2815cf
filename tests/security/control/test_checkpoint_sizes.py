"""Files that claim more than the disk holds are refused, and the links that ordinary trainers make are followed."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from odd_folders import FIRST, INDEX, SECOND, write

from ray_jobs.checkpoints import fingerprints, inspect
from ray_jobs.checkpoints.errors import Incomplete
from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.strict_json import parse_object


def write_sparse_weights(path: Path, size: int) -> None:
    """Write a valid header of one tensor and then a hole: 4 kB on the disk."""
    header = json.dumps({"a": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + size)


def write_one_shard(folder: Path) -> None:
    write(folder, {INDEX: None, FIRST: None, SECOND: None})
    write_sparse_weights(folder / "model.safetensors", 1_900_000_000_000)


def write_many_shards(folder: Path) -> None:
    names = {str(number): f"s-{number}.safetensors" for number in range(30)}
    write(folder, {INDEX: json.dumps({"weight_map": names}).encode(), FIRST: None, SECOND: None})
    for name in names.values():
        write_sparse_weights(folder / name, 900_000_000)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("make", [write_one_shard, write_many_shards])
def test_sparse_weights_are_incomplete(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "step-1")
    with pytest.raises(Incomplete, match="holes") as reason:
        inspect.resolve(str(tmp_path / "step-1"))
    assert str(reason.value).isprintable()


def test_a_small_file_with_holes_is_whole(tmp_path: Path) -> None:
    write(tmp_path / "step-1", {INDEX: None, FIRST: None, SECOND: None})
    write_sparse_weights(tmp_path / "step-1" / "model.safetensors", 10_000_000)
    assert inspect.resolve(str(tmp_path / "step-1")).name == "step-1"


@pytest.mark.parametrize("suffix", ["model", "tiktoken"])
def test_the_files_beside_the_weights_have_one_limit_together(suffix: str, tmp_path: Path) -> None:
    write(tmp_path / "step-1", {})
    for number in range(5):
        with (tmp_path / "step-1" / f"notes-{number}.{suffix}").open("wb") as file:
            file.truncate(250_000_000)
    with pytest.raises(InputError, match="beside the weights"):
        inspect.require_complete(str(tmp_path / "step-1"))


@pytest.mark.parametrize("suffix", ["txt", "json"])
def test_notes_of_any_size_do_not_change_the_checkpoint(suffix: str, tmp_path: Path) -> None:
    write(tmp_path / "step-1", {})
    before = inspect.resolve(str(tmp_path / "step-1"))
    for number in range(5):
        with (tmp_path / "step-1" / f"notes-{number}.{suffix}").open("wb") as file:
            file.truncate(250_000_000)
    assert inspect.resolve(str(tmp_path / "step-1")) == before
    assert fingerprints.compute_former_fingerprint(str(tmp_path / "step-1")) is None


@pytest.mark.parametrize("variable", ["ASSAY_CHECKPOINTS", "ASSAY_BASES"])
def test_a_link_to_a_file_below_the_folders_of_bases_is_followed(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, folder = tmp_path / "models" / "base", tmp_path / "runs" / "step-2"
    write(base, {})
    write(folder, {"tokenizer.json": None})
    (folder / "tokenizer.json").symlink_to(Path("..", "..", "models", "base", "tokenizer.json"))
    with pytest.raises(InputError, match="ASSAY_BASES"):
        inspect.resolve(str(folder))
    monkeypatch.setenv(variable, str(tmp_path / "models"))
    assert inspect.resolve(str(folder)).name == "step-2"


@pytest.mark.parametrize(
    "target", ["../../models/../secret.json", "../../models-2/a.json", "../../models/out.json", "../../models/base"]
)
def test_a_link_that_leaves_the_folders_of_bases_is_refused(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "models" / "base", {})
    (tmp_path / "models-2").mkdir()
    for file in (tmp_path / "secret.json", tmp_path / "models-2" / "a.json"):
        file.write_text("{}")
    (tmp_path / "models" / "out.json").symlink_to(tmp_path / "secret.json")
    folder = tmp_path / "runs" / "step-2"
    write(folder, {"tokenizer.json": None})
    (folder / "tokenizer.json").symlink_to(target)
    monkeypatch.setenv("ASSAY_BASES", f"s3://bucket/bases, {tmp_path / 'models'}")
    with pytest.raises((InputError, Incomplete), match="step-2"):
        inspect.resolve(str(folder))


def test_a_float_with_all_its_decimals_is_read() -> None:
    assert parse_object(f'{{"a": {0.1:.55f}}}'.encode(), 10) == {"a": 0.1}


@pytest.mark.parametrize("number", ["9" * 41, "0." + "1" * 400, "1" * 400 + ".5"])
def test_a_number_of_more_characters_is_refused(number: str) -> None:
    with pytest.raises(InputError, match="a number of more than"):
        parse_object(f'{{"a": {number}}}'.encode(), 10)
