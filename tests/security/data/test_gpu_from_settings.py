"""F3: what a cluster may have comes from the deployment, because its GPU nodes start only when a job asks for one.

Ray's view of the nodes is stood in for: a cluster with GPUs is not to be had here. The tests look at what each
caller asks Ray for.
"""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from stage_jobs import GOOD

from ray_jobs.checkpoints import inspect, verification
from ray_jobs.contract.sections.engine import Engine
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.engine import gpus
from ray_jobs.engine.audit import reference_engine
from ray_jobs.engine.client import cold, eviction, session, warm
from ray_jobs.inputs.errors import InputError
from ray_jobs.metrics.clip import stage
from ray_jobs.storage import manifests

CHECKPOINT = Checkpoint(uri="/models/step-1", name="step-1", fingerprint="0123456789abcdef")


class AskedFor(Exception):
    """Carries the resources at the moment when they are requested from Ray."""


def ask_ray(*_: Any, **__: Any) -> Any:
    """Stands for `ray.remote`: raises with the resources of the actor or task."""

    def options(**wanted: Any) -> Any:
        raise AskedFor(wanted)

    return SimpleNamespace(options=options)


def ask_ray_for_calls(*_: Any, **__: Any) -> Any:
    return lambda _: ask_ray()


def live(monkeypatch: pytest.MonkeyPatch, gpus_up: float, on_nodes: tuple[int, ...] = ()) -> None:
    resources = {"CPU": 4.0} | ({"GPU": gpus_up} if gpus_up else {})
    nodes = [
        {"Alive": True, "Resources": {"CPU": 4.0} | ({"GPU": float(count)} if count else {})} for count in on_nodes
    ]
    monkeypatch.setattr("ray.cluster_resources", lambda: resources)
    monkeypatch.setattr("ray.available_resources", lambda: resources)
    monkeypatch.setattr("ray.nodes", lambda: nodes)
    monkeypatch.setattr("ray.get_actor", no_actor)


def no_actor(*_: Any) -> Any:
    raise ValueError("no such actor")


# Setting, GPUs on the nodes that are up, whether a GPU is asked for.
CLUSTERS = {
    "from zero": ("1", 0, True),
    "from zero, with spaces": (" 1 ", 0, True),
    "settings and nodes agree": ("1", 2, True),
    "none, said by the deployment": ("0", 0, False),
    "a GPU that Assay is not to use": ("0", 1, False),
    "a laptop without a GPU": (None, 0, False),
    "a laptop with one": (None, 1, True),
    "an empty variable": ("", 0, False),
    "an empty variable beside a GPU": ("", 1, True),
}


@pytest.fixture(params=list(CLUSTERS.values()), ids=list(CLUSTERS))
def needs_gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    setting, up, expected = request.param
    if setting is not None:
        monkeypatch.setenv("ASSAY_GPU", setting)
    live(monkeypatch, up)
    return bool(expected)


def test_whether_the_cluster_has_gpus(needs_gpu: bool) -> None:
    assert gpus.has_gpus() == needs_gpu


def test_what_the_warm_engine_asks_for(needs_gpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.remote", ask_ray)
    with (
        pytest.raises(AskedFor) as error,
        session.engine_session("engine-x", CHECKPOINT, Engine(gpu_memory_utilization=0.45)),
    ):
        pass
    (options,) = error.value.args
    assert (options["num_gpus"], options["num_cpus"]) == ((0.45, 1) if needs_gpu else (0, 0))
    assert ("VLLM_CPU_KVCACHE_SPACE" in options["runtime_env"]["env_vars"]) != needs_gpu


def test_what_an_audit_asks_for(needs_gpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.remote", ask_ray_for_calls)
    monkeypatch.setattr(reference_engine, "verify", lambda _: None)
    with pytest.raises(AskedFor) as error:
        reference_engine.recaption(CHECKPOINT, Engine(), [], lambda *_: iter(()), {})
    assert error.value.args[0]["num_gpus"] == (1 if needs_gpu else 0)


def test_what_the_reference_engine_asks_for(needs_gpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def config(_: Path, __: Engine, has_gpu: bool) -> Any:
        raise AskedFor(has_gpu)

    monkeypatch.setattr(cold, "_build_processor_config", config)
    with pytest.raises(AskedFor) as error:
        cold.answer_dataset(SimpleNamespace(), Path("/model"), Engine(), frozenset())
    assert error.value.args == (needs_gpu,)


def test_what_clip_asks_for(needs_gpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(*_: Any, **options: Any) -> Any:
        raise AskedFor(options)

    manifest = SimpleNamespace(parts=[SimpleNamespace(name="part-0", rows=3)], rows_in=3)
    monkeypatch.setattr(manifests, "require_manifest", lambda *_: manifest)
    monkeypatch.setattr(manifests, "list_part_names", lambda *_: set())
    monkeypatch.setattr(verification, "verify", lambda _: None)
    monkeypatch.setattr(stage, "probe", lambda *_, **__: None)
    monkeypatch.setattr(stage, "ray_dataset", lambda _: SimpleNamespace(map=measure))
    spec: Any = SimpleNamespace(clip=CHECKPOINT, golden_uri="g", scores_uri_of=str, captions_uri_of=str)
    with pytest.raises(AskedFor) as error:
        stage.measure_parts(spec, "captions")
    assert error.value.args[0]["num_gpus"] == int(needs_gpu)
    assert error.value.args[0]["compute"].min_size >= 1  # at least one is waited for


def test_tasks_under_way_and_engines_identity_follow_the_same_word(monkeypatch: pytest.MonkeyPatch) -> None:
    live(monkeypatch, 0)
    good, tasks = inspect.resolve(str(GOOD)), [{"part": f"part-{number}", "rows": [1] * 9} for number in range(20)]
    options = {}
    for setting in ("0", "1"):
        monkeypatch.setenv("ASSAY_GPU", setting)
        options[setting] = (
            warm.engine_key(good, Engine()),
            warm.build_work_queue(tasks, Engine(), gpus.has_gpus()).tasks_at_once,
        )
    assert options["0"][0] != options["1"][0]
    assert (options["0"][1], options["1"][1]) == (4, 8)  # four renderers beside a GPU, none beside a CPU


@pytest.mark.parametrize("setting", ["yes", "true", "2", "-1", "1.0", "none", "{{ 7 * 7 }}", "0x1", "٣"])
@pytest.mark.parametrize("ask", [gpus.has_gpus, lambda: eviction.evict_idle()], ids=["asked", "make_room"])
def test_an_ambiguous_setting_is_refused(setting: str, ask: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    live(monkeypatch, 1)
    monkeypatch.setenv("ASSAY_GPU", setting)
    with pytest.raises(InputError, match=r"ASSAY_GPU is .*; set it to 1 .*, to 0 "):
        ask()


@pytest.mark.parametrize(
    ("setting", "per_node", "up", "fits"),
    [
        ("1", "8", (), True),
        ("1", "1", (), False),
        ("1", "1", (1, 1), False),
        ("1", "1", (2,), True),
        ("1", "8", (1, 1), True),
        ("1", None, (1, 1), False),
        ("1", None, (), True),  # nobody knows the nodes that may be started: as many as it takes
        ("0", "8", (1, 1), False),  # no node is started, whatever it would have
    ],
)
def test_a_model_over_two_gpus_by_the_nodes_that_may_be_started(
    setting: str, per_node: str | None, up: tuple[int, ...], fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    live(monkeypatch, sum(up), up)
    monkeypatch.setenv("ASSAY_GPU", setting)
    if per_node:
        monkeypatch.setenv("ASSAY_GPUS_PER_NODE", per_node)
    why = warm.why_not_warm(inspect.resolve(str(GOOD)), Engine(tensor_parallel_size=2))
    assert (why is None) == fits


@pytest.mark.parametrize("setting", ["many", "-1", "1.5", "1e9", "8 GPUs"])
def test_an_invalid_number_of_gpus(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    live(monkeypatch, 0)
    monkeypatch.setenv("ASSAY_GPUS_PER_NODE", setting)
    with pytest.raises(InputError, match=r"ASSAY_GPUS_PER_NODE is .*; set it to the number"):
        gpus.max_gpus_per_node()


@pytest.mark.parametrize(("setting", "refusal"), [("1", False), (None, True)], ids=["may start", "as it is"])
def test_a_further_engine_waits_for_a_node_that_may_start(
    setting: str | None, refusal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no node can start and none has room, the job continues at once without that engine."""
    live(monkeypatch, 1)
    monkeypatch.setattr("ray.available_resources", lambda: {"CPU": 4.0})
    monkeypatch.setattr("ray.remote", ask_ray)
    if setting:
        monkeypatch.setenv("ASSAY_GPU", setting)
    expected = session.NoLongerNeeded if refusal else AskedFor
    with (
        pytest.raises(expected),
        session.engine_session("engine-x-2", CHECKPOINT, Engine(), job_done=threading.Event()),
    ):
        pass


def test_a_job_logs_what_it_waits_for(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    live(monkeypatch, 0)
    monkeypatch.setenv("ASSAY_GPU", "1")
    wait = gpus.GpuWait(1, "engine")
    with caplog.at_level("INFO", "assay"):
        wait.log_wait()
        wait.log_wait()
    (line,) = caplog.messages  # once a minute
    assert line.startswith("engine: waiting for 1 GPU: 0 free of 0 on the nodes that are up, more may be started; ")


class EvictionCounter:
    """Counts how often idle engines were asked to give up their GPU."""

    def __init__(self) -> None:
        self.times, self.again = 0, threading.Event()

    def __call__(self, name: str = "") -> None:
        self.times += 1
        self.again.set()


def test_idle_engines_are_evicted_until_the_first_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """An audit used to evict idle engines for as long as it ran, because it never reported that it had its GPU."""
    evicted = EvictionCounter()
    live(monkeypatch, 1)
    monkeypatch.setattr(eviction, "evict_idle", evicted)

    def answers() -> Iterator[int]:
        assert evicted.again.wait(10)
        yield 1
        yield 2

    threads = threading.active_count()
    items = eviction.evict_until_first(answers(), 1, "engine")
    assert next(items) == 1
    while threading.active_count() > threads:  # the evicting thread ends by itself, before the second item
        evicted.again.wait(0.05)
    assert (list(items), evicted.times) == ([2], 1)


def test_an_audit_makes_room_only_until_it_has_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    evicted, threads = EvictionCounter(), threading.active_count()
    live(monkeypatch, 1)
    monkeypatch.setattr(eviction, "evict_idle", evicted)
    monkeypatch.setattr(reference_engine, "verify", lambda _: None)

    def get(reference: str) -> Any:
        if reference == "it runs":
            assert evicted.again.wait(10)
            return None
        deadline = threading.Event()
        for _ in range(200):
            if threading.active_count() <= threads:
                return threading.active_count()
            deadline.wait(0.05)
        return "room is still being made"

    references = iter(["it runs", "what it says"])
    task = SimpleNamespace(remote=lambda *_: references)
    monkeypatch.setattr("ray.remote", lambda **_: lambda _: SimpleNamespace(options=lambda **_: task))
    monkeypatch.setattr("ray.get", get)
    recaptioned: Any = reference_engine.recaption(CHECKPOINT, Engine(), [], lambda *_: iter(()), {})
    assert (recaptioned, evicted.times) == (threads, 1)
