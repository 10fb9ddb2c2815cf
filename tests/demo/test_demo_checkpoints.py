"""The committed checkpoints as files: nothing here loads a network."""

import json
import re
import struct
from pathlib import Path
from typing import Any

import pytest

SAME = (
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
)


def header(shard: Path) -> dict[str, Any]:
    """A safetensors header (https://huggingface.co/docs/safetensors): 8 bytes of length, then JSON."""
    with shard.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return dict(json.loads(file.read(length)))


@pytest.fixture
def captioners(demo: Path) -> list[Path]:
    return sorted((demo / "checkpoints").iterdir())


@pytest.fixture
def answering_fields(demo: Path) -> list[Path]:
    return sorted((demo / "checkpoints-fields").iterdir())


@pytest.fixture
def everything(captioners: list[Path], answering_fields: list[Path], demo: Path) -> list[Path]:
    return [*captioners, *answering_fields, demo / "judge"]


def test_the_series_reads_as_one_run(captioners: list[Path]) -> None:
    steps = [int(path.name.removeprefix("step-")) for path in captioners]
    assert len(steps) == 5
    assert steps == sorted(set(steps))
    assert [path.name for path in captioners] == [f"step-{step:04d}" for step in steps]


def test_captioners_differ_in_their_weights_only(captioners: list[Path]) -> None:
    for name in SAME:
        assert len({(path / name).read_bytes() for path in captioners}) == 1, name
    assert len({(path / "model-00001-of-00002.safetensors").read_bytes() for path in captioners}) == 5
    assert len({json.dumps(header(path / "model-00001-of-00002.safetensors")) for path in captioners}) == 1


def test_those_that_answer_fields_go_on_from_the_good_captioner(
    captioners: list[Path], answering_fields: list[Path]
) -> None:
    """They differ from it in their weights only, so one engine can serve them all."""
    good = next(path for path in captioners if path.name == "step-0800")
    assert [path.name for path in answering_fields] == ["step-1600", "step-1700"]
    for path in answering_fields:
        assert [name for name in SAME if (path / name).read_bytes() != (good / name).read_bytes()] == []
    shards = {(path / "model-00001-of-00002.safetensors").read_bytes() for path in [good, *answering_fields]}
    assert len(shards) == 3


def test_every_checkpoint_is_complete(everything: list[Path]) -> None:
    for path in everything:
        shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
        assert sorted(file.name for file in path.iterdir()) == sorted([*SAME, *shards, "model.safetensors.index.json"])
        where = json.loads((path / "model.safetensors.index.json").read_text())["weight_map"]
        assert set(where.values()) == set(shards)
        for shard in shards:
            tensors = {name: tensor for name, tensor in header(path / shard).items() if name != "__metadata__"}
            assert set(tensors) == {name for name, file in where.items() if file == shard}
            assert {tensor["dtype"] for tensor in tensors.values()} == {"BF16"}
            length = struct.unpack("<Q", (path / shard).read_bytes()[:8])[0]
            end = max(tensor["data_offsets"][1] for tensor in tensors.values())
            assert (path / shard).stat().st_size == 8 + length + end


def test_judge_and_captioners_read_alike(captioners: list[Path], demo: Path) -> None:
    for name in SAME:
        if name != "config.json":
            assert (demo / "judge" / name).read_bytes() == (captioners[0] / name).read_bytes(), name


def test_checkpoints_say_what_they_are(everything: list[Path]) -> None:
    for path in everything:
        config = json.loads((path / "config.json").read_text())
        assert config["architectures"] == ["Qwen2_5_VLForConditionalGeneration"]
        assert config["model_type"] == "qwen2_5_vl"
        template = (path / "chat_template.jinja").read_text()
        assert "<|vision_start|><|image_pad|><|vision_end|>" in template


def test_no_checkpoint_names_the_machine_it_was_made_on(everything: list[Path]) -> None:
    for path in everything:
        for file in path.glob("*.json"):
            assert not re.search(r"/(tmp|work|home|root)/", file.read_text()), file


def test_the_whole_folder_stays_small(demo: Path) -> None:
    files = [path for path in demo.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in files) <= 15_000_000
