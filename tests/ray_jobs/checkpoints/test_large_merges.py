"""Merges of a large base: the memory that they take, and what a killed merge leaves."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from adapters import make_random_pair, write_adapter
from stage_jobs import wait_until

from ray_jobs.checkpoints import inspect
from ray_jobs.checkpoints.lora_merge import merge
from ray_jobs.checkpoints.node_cache import fetch

SHARDS = FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.fixture
def large(tmp_path: Path) -> tuple[Path, Path]:
    """A base of 128 MiB in two shards of 32 tensors, sparse on the disk, with an adapter for all of it."""
    base, made_pairs = tmp_path / "base", {}
    base.mkdir()
    (base / "config.json").write_text('{"architectures": ["Tiny"]}')
    (base / "tokenizer.json").write_text("{}")
    for shard in range(2):
        names = [f"layers.{shard}.{number}" for number in range(32)]
        size, header = 1024 * 1024 * 2, {}
        for number, name in enumerate(names):
            made_pairs[name] = make_random_pair((1024, 1024), 4, number)
            place = [number * size, (number + 1) * size]
            header[f"{name}.weight"] = {"dtype": "BF16", "shape": [1024, 1024], "data_offsets": place}
        text = json.dumps(header).encode()
        with (base / SHARDS[shard]).open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.truncate(8 + len(text) + 32 * size)
    index = {"weight_map": {f"{name}.weight": SHARDS[int(name[7])] for name in made_pairs}}
    (base / "model.safetensors.index.json").write_text(json.dumps(index))
    return base, write_adapter(tmp_path / "adapter", made_pairs, base_model_name_or_path=str(base))


@pytest.mark.slow
def test_one_tensor_at_a_time_is_in_memory(large: tuple[Path, Path], tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(Path(__file__).with_name("measure_merge.py")),
        *map(str, large),
        str(tmp_path / "merged"),
    ]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(process.stdout) < 60_000  # KiB; a shard is 64 MiB as it lies there, 128 in float32
    assert (tmp_path / "merged" / SECOND).stat().st_blocks * 512 > 60_000_000  # it was written


@pytest.mark.slow
def test_a_killed_merge_leaves_no_copy_and_the_next_one_is_complete(
    large: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("ASSAY_CACHE", str(cache))
    process = subprocess.Popen([sys.executable, str(Path(__file__).with_name("fetch_checkpoint.py")), str(large[1])])
    wait_until(lambda: process.poll() is not None or any(cache.glob(f".*/{FIRST}")), 300)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert [folder for folder in cache.iterdir() if not folder.name.startswith(".")] == []
    target = fetch(inspect.resolve(str(large[1])))
    (cached,) = (folder for folder in cache.iterdir() if not folder.name.startswith("."))
    assert target == cached
    (tmp_path / "merged").mkdir()
    merge(*large, tmp_path / "merged", "checkpoint here")
    for shard in SHARDS:
        assert (cached / shard).read_bytes() == (tmp_path / "merged" / shard).read_bytes()
