"""F5: a checkpoint's own files compute without an end. The engine gives the computation up and names them.

Processes, templates and tokenizers are real. `test_hung_engine` has the engines that such a computation hangs.
"""

import asyncio
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from stage_jobs import GOOD
from tokenizers import Regex, normalizers

from ray_jobs.contract.spec import Checkpoint
from ray_jobs.engine.bounded_calls import ComputeTimeout, limit_each, run_limited
from ray_jobs.engine.errors import classify_error
from ray_jobs.engine.prompt import PromptBuilder
from ray_jobs.engine.server.renderers import Renderer, RendererPool
from ray_jobs.inputs.errors import InputError

CHECKPOINT = Checkpoint(uri="/models/step-1", name="step-1", fingerprint="0123456789abcdef")


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
