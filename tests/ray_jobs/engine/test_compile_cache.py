import logging
import threading
from pathlib import Path

import pytest

from ray_jobs.checkpoints.inspect import resolve
from ray_jobs.contract.sections.engine import Engine
from ray_jobs.engine import compile_cache
from ray_jobs.engine.compile_cache import CompileCache, make_key, open_compile_cache
from ray_jobs.storage import objects

CHECKPOINTS = Path(__file__).parents[3] / "demo" / "checkpoints"
GPU = "NVIDIA H200 9.0 13.0"


@pytest.fixture(autouse=True)
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The private folder of a node, with nothing in it."""
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "node"))
    monkeypatch.delenv("VLLM_CACHE_ROOT", raising=False)
    return tmp_path / "node"


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path / "place")


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "assay")
    return caplog


def compile_into(cache: CompileCache, code: bytes = b"code") -> None:
    """Stands in for vLLM's compilation."""
    for folder in cache.environment().values():
        Path(folder).mkdir(parents=True)
        (Path(folder) / "kernel").write_bytes(code)


def files_of(cache: CompileCache) -> dict[str, bytes]:
    return {
        str(path.relative_to(cache.folder)): path.read_bytes() for path in cache.folder.rglob("*") if path.is_file()
    }


def test_a_second_node_has_what_the_first_one_compiled(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: pytest.LogCaptureFixture
) -> None:
    first = CompileCache(place, "key")
    first.restore()
    compile_into(first)
    first.share()
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "second"))
    second = CompileCache(place, "key")
    second.restore()
    assert second.folder != first.folder
    assert files_of(second) == files_of(first) == {f"{name}/kernel": b"code" for name in ("vllm", "inductor", "triton")}
    assert [record.message.split(": ")[2].split(",")[0] for record in lines.records] == [
        "not there yet; vLLM compiles", "written", "0.0 MB",
    ]  # fmt: skip
    assert list(second.folder.parent.iterdir()) == [second.folder]  # nothing is left of the unpacking


def test_a_node_keeps_what_it_has(place: str) -> None:
    cache = CompileCache(place, "key")
    compile_into(cache, b"newer")
    cache.share()
    compile_into(other := CompileCache(place, "other"), b"older")
    Path(other.uri).parent.mkdir(exist_ok=True)
    other.share()
    Path(other.uri).replace(cache.uri)
    cache.restore()
    assert files_of(cache)["vllm/kernel"] == b"newer"


def test_of_nodes_that_compile_at_the_same_time_one_writes_the_object(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: pytest.LogCaptureFixture
) -> None:
    caches = []
    for number in range(8):
        monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / f"node-{number}"))
        caches.append(CompileCache(place, "key"))
        compile_into(caches[-1], b"%d" % number)
    threads = [threading.Thread(target=cache.share) for cache in caches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [record.message.split(", ")[0].split(": ")[2] for record in lines.records] == ["written"]
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "late"))
    late = CompileCache(place, "key")
    late.restore()
    assert len(set(files_of(late).values())) == 1


def test_a_node_that_has_fetched_the_object_does_not_write_it(place: str, node: Path) -> None:
    compile_into(cache := CompileCache(place, "key"))
    cache.share()
    written = Path(cache.uri).stat().st_mtime_ns
    cache.folder.rename(node / "away")
    cache.restore()
    Path(cache.uri).unlink()
    cache.share()
    assert written
    assert not Path(cache.uri).exists()


@pytest.mark.parametrize("damage", [b"", b"not a cache\n" * 1000])
def test_a_damaged_object_costs_one_line(place: str, damage: bytes, lines: pytest.LogCaptureFixture) -> None:
    cache = CompileCache(place, "key")
    Path(place).mkdir()
    Path(cache.uri).write_bytes(damage)
    cache.restore()
    assert not cache.folder.exists()
    (record,) = lines.records
    assert f"{cache.uri}: not used: " in record.message
    assert record.levelno == logging.WARNING


def test_a_place_that_cannot_be_used_costs_one_line_each_time(tmp_path: Path, lines: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    cache = CompileCache(str(tmp_path / "file"), "key")
    cache.restore()
    compile_into(cache)
    cache.share()
    assert [": not used: " in record.message or ": not written: " in record.message for record in lines.records] == [
        True, True,
    ]  # fmt: skip


def test_a_slow_place_is_not_waited_for(
    place: str, monkeypatch: pytest.MonkeyPatch, lines: pytest.LogCaptureFixture
) -> None:
    compile_into(cache := CompileCache(place, "key"))
    cache.share()
    cache.folder.rename(cache.folder.parent.parent / "away")
    lines.clear()
    answer, read = threading.Event(), objects.read
    monkeypatch.setattr(compile_cache, "FETCH_SECONDS", 0.1)
    monkeypatch.setattr(objects, "read", lambda uri, at_most: (answer.wait(), read(uri, at_most))[1])
    cache.restore()
    assert "not fetched within" in lines.records[0].message
    compile_into(cache, b"compiled meanwhile")
    answer.set()
    (fetching,) = (thread for thread in threading.enumerate() if thread.name == "compile-cache")
    fetching.join()
    assert set(files_of(cache).values()) == {b"compiled meanwhile"}


def test_it_is_off_unless_the_deployment_names_a_place(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, engine = resolve(str(CHECKPOINTS / "step-0800")), Engine()
    monkeypatch.delenv("ASSAY_COMPILE_CACHE", raising=False)
    assert open_compile_cache(checkpoint, engine, GPU) is None
    monkeypatch.setenv("ASSAY_COMPILE_CACHE", place)
    assert open_compile_cache(checkpoint, engine, None) is None
    assert open_compile_cache(checkpoint, Engine(enforce_eager=True), GPU) is None
    cache = open_compile_cache(checkpoint, engine, GPU)
    assert cache
    assert cache.uri.startswith(f"{place}/")
    monkeypatch.setenv("VLLM_CACHE_ROOT", "/volume")
    assert open_compile_cache(checkpoint, engine, GPU) is None


def test_the_key_has_all_that_compiled_code_depends_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = resolve(str(CHECKPOINTS / "step-0800"))
    key = make_key(checkpoint, Engine(), GPU)
    assert make_key(resolve(str(CHECKPOINTS / "step-0809")), Engine(keep_seconds=1, replicas=2, audit=0), GPU) == key
    others = {
        make_key(checkpoint, Engine(), "NVIDIA H100 9.0 13.0"),
        make_key(checkpoint, Engine(max_num_seqs=8), GPU),
        make_key(checkpoint, Engine(gpu_memory_utilization=0.5), GPU),
    }
    monkeypatch.setattr(compile_cache, "read_versions", lambda: {"vllm": "0.33.0"})
    others.add(make_key(checkpoint, Engine(), GPU))
    monkeypatch.undo()
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "elsewhere"))
    others.add(make_key(checkpoint, Engine(), GPU))
    assert len(others | {key}) == 6
