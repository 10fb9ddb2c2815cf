"""F5: a checkpoint's own files compute without an end; the engine that they hang is ended, and they are named.

Processes, templates and tokenizers are real. For what a driver makes of an engine that does not answer, Ray is stood
in for; tests/ray_jobs/engine/test_hung_template.py has it with Ray and vLLM.
"""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import ray
from hanging_process import HANGS
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError
from stage_jobs import GOOD
from tokenizers import Regex, normalizers

from ray_jobs.contract.sections.engine import Engine
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.engine import gpus
from ray_jobs.engine.bounded_calls import ComputeTimeout, limit_each, run_limited
from ray_jobs.engine.client import eviction, session, warm
from ray_jobs.engine.client.session import LeasedEngine
from ray_jobs.engine.errors import classify_error
from ray_jobs.engine.prompt import PromptBuilder
from ray_jobs.engine.protocol import EngineJob
from ray_jobs.engine.server.renderers import Renderer, RendererPool
from ray_jobs.engine.watchdog import silence_limit
from ray_jobs.inputs.errors import InputError, RetryableError

PROGRAM = Path(__file__).with_name("hanging_process.py")
CHECKPOINT = Checkpoint(uri="/models/step-1", name="step-1", fingerprint="0123456789abcdef")
KILLED = (
    "The actor died unexpectedly before finishing this task. The actor is dead because it was killed by `ray.kill`."
)
ENDED = (
    "The actor died unexpectedly before finishing this task.\nThe actor is dead because its worker process has died. "
    "Worker exit type: SYSTEM_ERROR"
)


def start_engine(hang: str) -> tuple["subprocess.Popen[str]", psutil.Process]:
    """Start the process. Returns it and its watchdog."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, str(PROGRAM), hang]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout
    return process, psutil.Process(int(process.stdout.readline()))


@pytest.mark.slow
@pytest.mark.parametrize("hang", [name for name in HANGS if name != "end"])
def test_a_process_whose_event_loop_hangs_is_ended(hang: str) -> None:
    process, watchdog = start_engine(hang)
    assert process.wait(60) == -signal.SIGKILL
    assert not psutil.wait_procs([watchdog], 30)[1]


@pytest.mark.slow
def test_a_process_that_works_is_left_alone_and_leaves_nothing() -> None:
    process, watchdog = start_engine("work")
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, "done\n")
    assert not psutil.wait_procs([watchdog], 30)[1]


@pytest.mark.slow
def test_a_process_that_ends_takes_its_watchdog_with_it() -> None:
    process, watchdog = start_engine("end")
    assert process.wait(60) == 0
    assert not psutil.wait_procs([watchdog], 30)[1]


@pytest.fixture
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits of half a second for computing and for silence."""
    monkeypatch.setenv("ASSAY_ENGINE_SILENCE", "1")


def loop_for_ever() -> None:
    while True:
        pass


def endless_generator() -> Iterator[int]:
    yield 1
    loop_for_ever()


TEMPLATES = {
    "two loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "a recursive macro of loops": (
        "{% macro again(n) %}{% for a in range(40) %}{% if n %}{{ again(n - 1) }}{% endif %}{% endfor %}{% endmacro %}"
        "{{ again(9) }}"
    ),
    "a loop over every message's letters": (
        "{% for m in messages %}{% for a in range(99999) %}{% for b in (m | string) %}{% for c in range(99) %}"
        "{% endfor %}{% endfor %}{% endfor %}{% endfor %}"
    ),
    "a sort of a long list, again and again": "{% for a in range(99999) %}{% set x = range(9999) | sort %}{% endfor %}",
    "only for texts that are not a trial": (
        "{% if 'secret' in (messages | string) %}{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}"
        "{% endfor %}{% endif %}<|vision_start|><|image_pad|><|vision_end|>{{ messages[0].content[1].text }}"
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_a_chat_template_without_an_end_is_given_up(template: str, tmp_path: Path, short_limits: None) -> None:
    folder = Path(shutil.copytree(GOOD, tmp_path / "step-9"))
    (folder / "chat_template.jinja").write_text(template)
    maker = PromptBuilder(folder, "/checkpoints/step-9")
    message = in_a_fork(lambda: run_limited(lambda: maker.prompt("a secret text"), maker.uri))
    assert re.fullmatch(r"checkpoint /checkpoints/step-9: its chat template, .*; mend these files", message)


def in_a_fork(compute: Callable[[], Any]) -> str:
    """The error that Endless raises there. The thread continues to compute, so the process must end."""
    reading, writing = os.pipe()
    if not (child := os.fork()):
        signal.alarm(50)
        try:
            compute()
            os._exit(1)
        except ComputeTimeout as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    message = os.read(reading, 10_000).decode()
    os.close(reading)
    os.waitpid(child, 0)
    return message


@pytest.mark.slow
def test_a_tokenizers_expression_without_an_end_is_given_up(short_limits: None) -> None:
    normalizer = normalizers.Replace(Regex(r"(a+a+)+$"), "x")  # its library panics
    with pytest.raises(InputError, match=r"^checkpoint /m: its .*tokenizer or processor"):
        run_limited(lambda: normalizer.normalize_str("a" * 40 + "b"), "/m")


def catch_for_ever() -> None:
    while True:
        try_again()


def try_again() -> None:
    try:
        raise ValueError
    except ValueError:
        pass


COMPUTATIONS: dict[str, Callable[[], Any]] = {
    "a loop": loop_for_ever,
    "a product of large numbers": lambda: [3**100_000 * 7**100_000 for _ in iter(int, 1)],
    "items of a generator": lambda: list(endless_generator()),
    "an error that is caught each time": catch_for_ever,
}


@pytest.mark.slow
@pytest.mark.parametrize("compute", COMPUTATIONS.values(), ids=COMPUTATIONS)
def test_a_computation_without_an_end_is_given_up(compute: Callable[[], Any], short_limits: None) -> None:
    assert in_a_fork(lambda: run_limited(compute, "/m")).startswith("checkpoint /m: ")


def test_waiting_is_not_computing(short_limits: None) -> None:
    """A slow disk is no fault of the checkpoint."""

    def read_slowly() -> str:
        time.sleep(2)
        return "read"

    assert run_limited(read_slowly, "/m") == "read"


def test_what_is_computed_or_raised_arrives(short_limits: None) -> None:
    assert run_limited(lambda: 42, "/m") == 42
    assert run_limited(lambda: None, "/m") is None
    assert list(limit_each(iter([1, None, 3]), "/m")) == [1, None, 3]
    with pytest.raises(KeyError, match="gone"):
        run_limited(lambda: dict[str, str]()["gone"], "/m")
    threads = {run_limited(threading.get_ident, "/m") for _ in range(20)}
    assert len(threads) == 1  # one for all, not one each


@pytest.mark.slow
def test_rendering_without_an_end_is_no_rows_fault(short_limits: None) -> None:
    """A row that vLLM refuses costs that row. A processor that hangs does so for every row."""
    maker: Any = SimpleNamespace(uri="/m")
    endless: Any = SimpleNamespace(render_cmpl=lambda _: loop_for_ever())
    renderer = Renderer(maker, endless)
    request = {
        "key": "part/1", "tokenized_prompt": [1], "multimodal_data": {}, "sampling_params": {}, "least_tokens": 1,
        "refused": None,
    }  # fmt: skip
    renderer.open_task("1", lambda *_: iter([request]), {"part": "part", "rows": [1]})
    assert in_a_fork(lambda: renderer.next_rows("1")).startswith("checkpoint /m: ")


@pytest.mark.slow
@pytest.mark.parametrize("hangs", ["prompt", "tokens"])
def test_what_renderers_agree_on_is_given_up(hangs: str, short_limits: None) -> None:
    """This is the first use of the template. The engine still starts, so nothing detects its silence."""
    maker: Any = SimpleNamespace(uri="/m", prompt=lambda _: "prompt", tokens=lambda _: [1])
    setattr(maker, hangs, lambda _: loop_for_ever())
    assert in_a_fork(Renderer(maker, None).sample).startswith("checkpoint /m: ")


class RendersForEver:
    """An actor whose tasks never end. `answers` says whether it answers other calls."""

    def __init__(self, answers: bool) -> None:
        self.asked = 0
        self.more = SimpleNamespace(remote=lambda *_: asyncio.get_running_loop().create_future())
        self.__ray_ready__ = SimpleNamespace(remote=self._ready)
        self.answers = answers

    def _ready(self) -> "asyncio.Future[bool]":
        self.asked += 1
        ready = asyncio.get_running_loop().create_future()
        if self.answers:
            ready.set_result(True)
        return ready


def make_renderer_pool(actor: RendersForEver) -> RendererPool:
    rendering = RendererPool.__new__(RendererPool)
    rendering._actors, rendering._uri = [actor], "/m"
    return rendering


def test_a_process_that_renders_and_is_silent_is_given_up(short_limits: None) -> None:
    """The engine's event loop works, so its driver notices nothing."""
    with pytest.raises(ComputeTimeout, match=r"^checkpoint /m: a process that renders for it did not answer for 1 s: "):
        asyncio.run(make_renderer_pool(RendersForEver(answers=False))._call(0, "more", "1"))


def test_a_process_that_renders_for_long_and_answers_is_left_alone(short_limits: None) -> None:
    actor = RendersForEver(answers=True)

    async def call() -> None:
        calling = asyncio.create_task(make_renderer_pool(actor)._call(0, "more", "1"))
        while actor.asked < 3:
            await asyncio.sleep(0.01)
        assert not calling.done()
        calling.cancel()

    asyncio.run(call())


def test_the_error_of_a_starting_actor_names_the_checkpoint() -> None:
    text = (
        "The actor died because of an error raised in its creation task, ray::WarmEngine.__init__() (pid=1)\n"
        "ray_jobs.engine.bounded_calls.ComputeTimeout: checkpoint /m: "
        "its chat template computed for 30 s; mend these files\n"
    )
    error = classify_error(RuntimeError(text), "/m")
    assert isinstance(error, InputError)
    assert str(error) == "checkpoint /m: its chat template computed for 30 s; mend these files"


class Silent:
    """An engine's actor that never answers, and how it ends."""

    def __init__(self) -> None:
        self._actor_id, self.ended = b"silent", threading.Event()
        self.renew = self.evict = self.acquire = self.release = SimpleNamespace(remote=lambda *_: self)

    def take_place(self, monkeypatch: pytest.MonkeyPatch, last_words: str = KILLED) -> None:
        monkeypatch.setenv("ASSAY_ENGINE_SILENCE", "0.5")

        def get(_: Any, timeout: float | None = None) -> Any:
            if self.ended.wait(timeout):
                raise RayActorError(error_msg=last_words)
            raise GetTimeoutError

        monkeypatch.setattr("ray.get", get)
        monkeypatch.setattr("ray.kill", lambda _: self.ended.set())
        monkeypatch.setattr("ray.cancel", lambda _: None)
        monkeypatch.setattr("ray.wait", lambda all, timeout: (all if self.ended.wait(timeout) else [], []))
        monkeypatch.setattr("ray.get_actor", lambda *_: self)
        monkeypatch.setattr("ray.cluster_resources", lambda: {"GPU": 1.0})
        monkeypatch.setattr("ray.util.list_named_actors", lambda **_: [{"namespace": eviction.NAMESPACE, "name": "x"}])
        monkeypatch.setattr(gpus, "is_started", lambda _: True)
        monkeypatch.setattr(gpus, "is_placed", lambda _: True)
        monkeypatch.setattr(eviction, "EVICTION_ANSWER_S", 0.1)


def test_the_driver_that_holds_an_engine_ends_it_when_it_is_silent(
    short_limits: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = Silent()
    actor.take_place(monkeypatch)
    session._renew_lease(actor, "token", threading.Event())
    assert actor.ended.is_set()


def test_a_driver_that_waits_for_an_engine_ends_it_when_it_is_silent(
    short_limits: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = Silent()
    actor.take_place(monkeypatch)
    with pytest.raises(RayActorError, match=re.escape("killed by `ray.kill`")):
        session._wait_for_lease(actor, "token", CHECKPOINT, None, None, None)


def test_an_engine_that_its_watchdog_ends_hung(monkeypatch: pytest.MonkeyPatch) -> None:
    actor = Silent()
    actor.take_place(monkeypatch, ENDED)
    threading.Timer(0.75, actor.ended.set).start()  # the watchdog's time
    with pytest.raises(session.EngineHung, match="its worker process has died"):
        session._wait_for_lease(actor, "token", CHECKPOINT, None, None, None)


@pytest.mark.parametrize(("seconds", "hung"), [(0.75, True), (0.1, False)], ids=["by its watchdog", "by a crash"])
def test_the_job_that_holds_an_engine_knows_how_it_ended(
    seconds: float, hung: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = Silent()
    actor.take_place(monkeypatch, ENDED)
    monkeypatch.setattr(session, "_wait_for_lease", lambda *_: None)
    monkeypatch.setattr("ray.cluster_resources", dict)
    remote: Any = SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda *_: actor))
    monkeypatch.setattr("ray.remote", lambda _: remote)
    threading.Timer(seconds, actor.ended.set).start()
    with pytest.raises(RayActorError) as raised, session.engine_session("x", CHECKPOINT, Engine()):
        ray.get(object())
    assert isinstance(raised.value, session.EngineHung) == hung
    assert not session._last_answer


def test_a_driver_that_needs_its_gpu_ends_it_when_it_is_silent(
    short_limits: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = Silent()
    actor.take_place(monkeypatch)
    for _ in range(1000):
        eviction.evict_idle()
        if actor.ended.is_set():
            return
    raise AssertionError("it was never ended")


def test_an_engine_that_starts_is_not_silent(short_limits: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM's start takes minutes, in which the actor answers nothing."""
    actor = Silent()
    actor.take_place(monkeypatch)
    monkeypatch.setattr(gpus, "is_started", lambda _: False)
    began = time.monotonic()
    while time.monotonic() - began < 1.5:
        eviction.evict_idle()
        time.sleep(0.01)
    assert not actor.ended.is_set()


def exit_of(seconds: float, text: str) -> Exception:
    """The error that a driver raises for an engine's end with this text, so many seconds after its last answer."""
    return session._recognise_hang(RayActorError(error_msg=text), time.monotonic() - seconds)


@pytest.mark.parametrize(
    ("seconds", "text", "hung"),
    [
        (61, ENDED, True),
        (90, ENDED, True),
        (59, ENDED, False),
        (121, KILLED, False),
        (121, "The actor is dead because its node has died.", False),
        (float("-inf"), ENDED, False),
    ],
    ids=["by the watchdog", "late", "a crash", "killed by a driver", "its node", "never held"],
)
def test_only_an_end_by_the_watchdog_proves_a_hang(seconds: float, text: str, hung: bool) -> None:
    assert isinstance(exit_of(seconds, text), session.EngineHung) == hung


def test_a_driver_waits_longer_than_the_watchdog() -> None:
    assert eviction.driver_silence_limit() > 1.5 * silence_limit()


SILENT = RayActorError(error_msg=KILLED)
HUNG = session.EngineHung(error_msg="its worker process has died")
TAKEN_BACK = RayActorError(error_msg=KILLED + " The actor never ran - it was cancelled before it started running.")
ENDLESS = RayTaskError(
    "serve", "ray_jobs.engine.bounded_calls.ComputeTimeout: checkpoint /m: no end", ComputeTimeout("no end")
)


class ReplicaPool:
    has_pending = False

    def __init__(self, *_: Any) -> None: ...

    def __enter__(self) -> "ReplicaPool":
        return self

    def __exit__(self, *_: Any) -> None: ...

    def start(self) -> None: ...

    def take_ready(self) -> list[Any]:
        return []


@pytest.mark.parametrize(
    ("errors", "kind", "culprit", "starts"),
    [
        ([HUNG] * 9, InputError, "step-1: 2 engines that served it did not answer for 60 s", 2),
        ([SILENT] * 9, RetryableError, "step-1: 2 engines that served it did not answer for 120 s", 2),
        ([SILENT, HUNG] * 9, RetryableError, "look at the network", 3),
        ([ENDLESS], InputError, "checkpoint /m: no end", 1),
        ([RayActorError()] * 9, RetryableError, "the engine died 4 times", 4),
        ([TAKEN_BACK] * 9, RetryableError, "died 4 times", 4),
    ],
    ids=["hung twice", "silent twice", "silent and hung", "endless", "killed by others", "taken back before it ran"],
)
def test_a_hang_is_attributed_to_its_cause(
    errors: list[Exception], kind: type[Exception], culprit: str, starts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from contextlib import contextmanager

    started_engines, errors_left = [], list(errors)

    @contextmanager
    def held_engine(name: str, *_: Any, **__: Any) -> Iterator[LeasedEngine]:
        started_engines.append(name)
        yield LeasedEngine(name, "token")

    def get(_: Any) -> Any:
        raise errors_left.pop(0)

    monkeypatch.setattr(warm, "ReplicaPool", ReplicaPool)
    monkeypatch.setattr(warm, "engine_session", held_engine)
    monkeypatch.setattr(warm, "load_checkpoint", lambda *_: ("report", lambda *_: object()))
    monkeypatch.setattr(warm, "engine_key", lambda *_: "one")
    monkeypatch.setattr("ray.get", get)
    monkeypatch.setattr("ray.put", lambda value: value)
    monkeypatch.setattr("ray.cluster_resources", dict)
    tasks = [{"part": f"part-{number}", "rows": [1]} for number in range(20)]
    with pytest.raises((kind, RayTaskError), match=culprit):
        list(warm.stream_answers(EngineJob(CHECKPOINT, Engine(), tasks, lambda *_: iter(()))))
    assert len(started_engines) == starts


def test_a_template_does_not_stop_the_event_loop(short_limits: None, tmp_path: Path) -> None:
    """The canary's prompt was rendered on the event loop: until the template ended there was no lease, watch or
    eviction."""
    from ray_jobs.engine.server.weight_swap import WeightSwapper

    class Slow:
        uri = "/m"

        def prompt(self, text: str) -> str:
            time.sleep(1)
            return text

        def tokens(self, prompt: str) -> list[int]:
            raise KeyError("no more is needed")

    async def run() -> int:
        contents: Any = object.__new__(WeightSwapper)
        contents._prompts, ticks = Slow(), 0
        trace = asyncio.create_task(contents._trace_canary(CHECKPOINT))
        while not trace.done():
            await asyncio.sleep(0.01)
            ticks += 1
        with pytest.raises(KeyError):
            await trace
        return ticks

    assert asyncio.run(run()) > 10
