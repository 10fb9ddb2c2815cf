"""What an early start asks of Ray, and when it asks for nothing. Ray's answers are stood in for.

test_one_gpu.py does the same with Ray itself.
"""

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from ray_jobs.contract.sections.engine import Engine
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.engine import gpus
from ray_jobs.engine.chosen_settings import Workload
from ray_jobs.engine.client import early_start
from ray_jobs.engine.client.early_start import FEW_IMAGES, EarlyStart, EngineNeeded
from ray_jobs.inputs.errors import InputError

CHECKPOINT = Checkpoint(uri="/models/judge", name="judge", fingerprint="0123456789abcdef")


class FakeCluster:
    """A cluster with one GPU, of which `free` is free. Notes the requests."""

    def __init__(self) -> None:
        self.free, self.engines, self.is_placed = 1.0, set[str](), True
        self.requested: list[tuple[Any, ...]] = []
        self.killed: list[Any] = []
        self.kept = threading.Event()

    def request(self, *arguments: Any) -> Any:
        self.requested.append(arguments)
        return SimpleNamespace(wait_for_job=SimpleNamespace(remote=self.kept.set))


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    fake = FakeCluster()
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 4.0, "GPU": 1.0})
    monkeypatch.setattr("ray.available_resources", lambda: {"CPU": 4.0, "GPU": fake.free})
    monkeypatch.setattr("ray.kill", fake.killed.append)
    monkeypatch.setattr(gpus, "is_placed", lambda _: fake.is_placed)
    monkeypatch.setattr(early_start, "engine_key", lambda *_: "x")
    monkeypatch.setattr(early_start, "why_not_warm", lambda *_: None)
    monkeypatch.setattr(early_start, "engine_exists", lambda name: name in fake.engines)
    monkeypatch.setattr(early_start, "request_actor", fake.request)
    return fake


def need(check: Callable[[], None] = lambda: None, **engine: Any) -> EngineNeeded:
    return EngineNeeded(CHECKPOINT, Engine(**{"gpu_memory_utilization": 0.45} | engine), Workload(), check)


def run_to_the_end(find_need: Callable[[], EngineNeeded | None] = need) -> None:
    """A job that lasts until its thread has decided."""
    with EarlyStart("judge", find_need) as early:
        early.start()
        assert early._thread
        early._thread.join(60)
        assert not early._thread.is_alive()


def test_an_engine_is_requested_without_a_lease(cluster: FakeCluster, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "assay"):
        run_to_the_end()
    ((name, checkpoint, engine, has_gpu, _, workload),) = cluster.requested
    assert (name, checkpoint, engine, has_gpu, workload) == (
        "engine-x", CHECKPOINT, Engine(gpu_memory_utilization=0.45), True, Workload(),
    )  # fmt: skip
    assert cluster.kept.is_set()
    assert cluster.killed == []
    assert caplog.messages == ["engine: that of the judge starts early, with 0.45 GPU"]


def test_without_room_nothing_is_requested(cluster: FakeCluster, caplog: pytest.LogCaptureFixture) -> None:
    cluster.free = 0.1
    with caplog.at_level("INFO", "assay"):
        run_to_the_end()
    assert cluster.requested == []
    assert caplog.messages == ["engine: that of the judge is not started early: no GPU has room for it now"]


def test_an_engine_that_exists_is_left_alone(cluster: FakeCluster, caplog: pytest.LogCaptureFixture) -> None:
    cluster.engines = {"engine-x"}
    with caplog.at_level("INFO", "assay"):
        run_to_the_end()
    assert (cluster.requested, caplog.messages) == ([], [])


@pytest.mark.parametrize("find_need", [lambda: None, lambda: need(kind="ray_data_llm")], ids=["none", "cold"])
def test_where_no_warm_engine_is_needed_nothing_is_requested(
    cluster: FakeCluster, find_need: Callable[[], EngineNeeded | None]
) -> None:
    run_to_the_end(find_need)
    assert cluster.requested == []


def test_on_a_cluster_without_gpus_nothing_is_requested(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 4.0})
    run_to_the_end()
    assert cluster.requested == []


def test_a_fault_is_one_line_and_fails_no_job(cluster: FakeCluster, caplog: pytest.LogCaptureFixture) -> None:
    def refuse() -> None:
        raise InputError("checkpoint /models/judge: tokenizer.json\ndoes not load")

    with caplog.at_level("INFO", "assay"):
        run_to_the_end(lambda: need(check=refuse))
    assert cluster.requested == []
    assert caplog.messages == [
        "engine: that of the judge is not started early: checkpoint /models/judge: tokenizer.json does not load"
    ]


def test_a_job_that_ends_first_does_not_wait(cluster: FakeCluster, caplog: pytest.LogCaptureFixture) -> None:
    checking, job_is_over = threading.Event(), threading.Event()

    def check() -> None:
        checking.set()
        assert job_is_over.wait(60)

    with caplog.at_level("INFO", "assay"):
        with EarlyStart("judge", lambda: need(check=check)) as early:
            early.start()
            assert checking.wait(60)
        job_is_over.set()
        assert early._thread
        early._thread.join(60)
    assert (cluster.requested, caplog.messages) == ([], [])


def test_a_request_without_a_process_is_withdrawn_at_the_end_of_the_job(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = threading.Event()

    def is_placed(_: Any) -> bool:
        looked.set()
        return False

    monkeypatch.setattr(gpus, "is_placed", is_placed)
    with EarlyStart("judge", need) as early:
        early.start()
        assert looked.wait(60)
    assert len(cluster.killed) == 1
    assert not cluster.kept.is_set()


def test_a_request_that_gets_no_process_is_withdrawn(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.is_placed = False
    monkeypatch.setattr(early_start, "PLACE_SECONDS", 0.0)
    with caplog.at_level("INFO", "assay"):
        run_to_the_end()
    assert len(cluster.killed) == 1
    assert caplog.messages == ["engine: that of the judge is not started early: no GPU has room for it now"]


def test_what_is_prepared_starts_only_when_it_may(cluster: FakeCluster) -> None:
    checked = threading.Event()
    with EarlyStart("judge", lambda: need(check=checked.set)) as early:
        early.prepare()
        assert checked.wait(60)
        assert cluster.requested == []
        early.start()
        assert cluster.kept.wait(60)


def test_a_large_golden_set_starts_no_engine_until_few_images_are_left(cluster: FakeCluster) -> None:
    with EarlyStart("captions", need) as early:
        early.start_if_few(FEW_IMAGES + 1)
        assert early._thread is None
        early.start_if_few(FEW_IMAGES)
        assert cluster.kept.wait(60)
