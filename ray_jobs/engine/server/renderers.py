"""Processes beside vLLM that render golden rows: the model's processor makes vLLM's inputs from image and prompt.

The actor starts and calls them. vLLM would render in the process that receives every token, where Python does one thing
at a time: on an H200 that left the GPU idle a third of the time (benchmarks/LOG.md). Pixels come back through Ray's
shared memory.
"""

import asyncio
import hashlib
import logging
import threading
import time
import uuid
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, TypedDict

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ray_jobs.engine import canary
from ray_jobs.engine.bounded_calls import ComputeTimeout, limit_each, run_limited
from ray_jobs.engine.prompt import PromptBuilder
from ray_jobs.engine.protocol import Requests, Task
from ray_jobs.engine.watchdog import silence_limit

log = logging.getLogger("assay")

ROWS_PER_CALL = 8  # rendered at once
THREADS = 8  # of a process: while one renders, others read, for small tasks
START_TIMEOUT_S = 300.0
ENVIRONMENT = {"RAY_ENABLE_ZERO_COPY_TORCH_TENSORS": "1", "OMP_NUM_THREADS": "1"}


class RenderedRequest(TypedDict):
    """A request with `inputs` as vLLM takes them, or the kind of its `failure` and the `detail`.

    `render` is the seconds it took; the others are as in `protocol.build_request`.
    """

    key: str
    sampling_params: dict[str, Any]
    least_tokens: int
    render: float
    inputs: Any
    failure: str | None
    detail: str | None


class RendererDied(Exception):
    """A renderer process died, and the rows that it was rendering are lost."""


class Renderer:
    """Renders the rows of tasks, a few per call; `renderer` is vLLM's own. Threads may call it for several tasks at
    once."""

    def __init__(self, maker: PromptBuilder, renderer: Any) -> None:
        self._maker, self._renderer, self._lock = maker, renderer, threading.Lock()
        self._requests: dict[str, Iterator[dict[str, Any]]] = {}

    def open_task(self, number: str, requests: Requests, task: Task) -> None:
        """Start a task; its number is unique."""
        iterator = requests(task["part"], task["rows"], self._maker)
        self._requests[number] = limit_each(iterator, self._maker.uri)

    def next_rows(self, number: str) -> list[RenderedRequest]:
        """The next rows of the task; empty if it has no more, and short if it is closed meanwhile."""
        rows, began = [], time.monotonic()
        for request in islice(self._requests[number], ROWS_PER_CALL):
            rows.append(self._render_row(request, began))
            began = time.monotonic()
            if number not in self._requests:
                break
        return rows

    def close_task(self, number: str) -> None:
        self._requests.pop(number, None)

    def render(self, tokens: list[int], images: dict[str, Any]) -> Any:
        """Prompt and images as vLLM's engine takes them. Raises what vLLM and the model's processor raise."""
        with self._lock:
            prompts = [{"prompt_token_ids": tokens, "multi_modal_data": images}]
            (inputs,) = run_limited(lambda: self._renderer.render_cmpl(prompts), self._maker.uri)
        return inputs

    def sample(self) -> str:
        """A hash of what it makes of a canary's picture: renderers of one model agree."""
        from vllm.v1.serial_utils import MsgpackEncoder

        maker = self._maker
        tokens = run_limited(lambda: maker.tokens(maker.prompt(canary.PROMPT)), maker.uri)
        inputs = self.render(tokens, {"image": canary.make_pictures()[0]})
        found = hashlib.sha256(str(inputs["prompt_token_ids"]).encode())
        for name, values in sorted(inputs["mm_kwargs"].get_data().items()):
            for buffer in MsgpackEncoder().encode([name, values]):
                found.update(buffer)
        return found.hexdigest()

    def _render_row(self, request: dict[str, Any], began: float) -> RenderedRequest:
        inputs, failure, detail = None, None, request["refused"]
        if detail:
            failure = "image-refused"
        else:
            try:
                inputs = self.render(request["tokenized_prompt"], request["multimodal_data"])
            except ComputeTimeout:
                raise
            except Exception as error:  # a row that vLLM refuses costs that row
                failure, detail = "engine-error", str(error.__cause__ or error)[:500]
        return {
            "key": request["key"], "sampling_params": request["sampling_params"],
            "least_tokens": request["least_tokens"], "render": time.monotonic() - began,
            "inputs": inputs, "failure": failure, "detail": detail,
        }  # fmt: skip


class RendererProcess(Renderer):
    """A renderer in a Ray actor of its own, made from the same config as vLLM's engine."""

    def __init__(self, model: str, uri: str, config: Any, number: int) -> None:
        import torch
        from vllm.renderers import renderer_from_config

        torch.set_num_threads(1)
        # vLLM names an image by renderer and a count, and takes two of one name for the same image: 0 is its own
        config.parallel_config._api_process_rank = number
        super().__init__(PromptBuilder(Path(model), uri), renderer_from_config(config))


class RendererPool:
    """Renders for one engine: so many processes on its node, which end with it, or threads of its own process."""

    def __init__(self, processes: int, model: Path, uri: str, config: Any) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor = ray.remote(RendererProcess).options(
            num_cpus=0,
            num_gpus=0,
            max_concurrency=THREADS,
            scheduling_strategy=here,
            runtime_env={"env_vars": ENVIRONMENT},
        )
        self._actors = [actor.remote(str(model), uri, config, number + 1) for number in range(processes)]
        self._rows = [0] * max(1, processes)  # that each process has still to render
        self._uri = uri

    def start(self, maker: PromptBuilder, renderer: Any) -> None:
        """Wait for the processes. If one does not start or is wrong, threads use the engine's own renderer.

        Raises ComputeTimeout where the checkpoint's files compute without an end. Without processes nothing is computed
        here: the files are first used when the engine serves, because only from then on its driver sees that it is
        silent.
        """
        self.local, self._threads = Renderer(maker, renderer), ThreadPoolExecutor(THREADS, "rendering")
        if not self._actors:
            return
        try:
            ray.get([actor.__ray_ready__.remote() for actor in self._actors], timeout=START_TIMEOUT_S)
            samples = self._hash_samples()
            doubt = "one makes other inputs than the engine itself" if {*samples} - {self.local.sample()} else None
        except RayError as error:
            if isinstance(error, RayTaskError) and isinstance(error.cause, ComputeTimeout):
                raise error.cause from None
            doubt = " ".join(str(error).split())[-300:]
        if doubt:
            log.warning("engine: it renders by itself, not in processes beside it: %s", doubt)
            self._actors, self._rows = [], [0]

    def _hash_samples(self) -> list[str]:
        try:
            found: list[str] = ray.get([actor.sample.remote() for actor in self._actors], timeout=silence_limit())
        except GetTimeoutError:  # the processes are there, so one of them holds Python's lock
            for actor in self._actors:
                ray.kill(actor)  # else Ray has this process wait for their answers before it ends
            raise self._timeout_error() from None
        return found

    def _timeout_error(self) -> ComputeTimeout:
        return ComputeTimeout(
            f"checkpoint {self._uri}: a process that renders for it did not answer for {silence_limit():g} s: its chat "
            "template, tokenizer or processor computes without an end; mend these files"
        )

    async def render_task(self, requests: Requests, task: Task) -> AsyncGenerator[list[RenderedRequest]]:
        """The task's rows in order, some at a time. Raises RendererDied, and what `requests` raises."""
        number, at = uuid.uuid4().hex, min(range(len(self._rows)), key=self._rows.__getitem__)
        self._rows[at] += len(task["rows"])
        ahead = asyncio.create_task(self._call(at, "open_task", number, requests, task))
        try:
            await ahead
            ahead = asyncio.create_task(self._call(at, "next_rows", number))
            while some := await ahead:
                ahead = asyncio.create_task(self._call(at, "next_rows", number))
                yield some
        finally:
            ahead.cancel()
            self._rows[at] -= len(task["rows"])
            if self._actors:
                self._actors[at].close_task.remote(number)
            else:
                self.local.close_task(number)

    async def _call(self, at: int, method: str, *arguments: Any) -> Any:
        if not self._actors:
            call = getattr(self.local, method)
            return await asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)
        answer = asyncio.ensure_future(getattr(self._actors[at], method).remote(*arguments))
        try:
            while not (await asyncio.wait([answer], timeout=silence_limit() / 2))[0]:
                await self._check_answers(at)
            return await answer
        except RayTaskError as error:
            raise error.cause from None
        except RayError as error:
            raise RendererDied(" ".join(str(error).split())[:200]) from None
        finally:
            answer.cancel()

    async def _check_answers(self, at: int) -> None:
        """Raises ComputeTimeout if the other threads of a process do not run either: the computation holds Python's
        lock."""
        try:
            await asyncio.wait_for(asyncio.ensure_future(self._actors[at].__ray_ready__.remote()), silence_limit() / 2)
        except TimeoutError:
            raise self._timeout_error() from None
