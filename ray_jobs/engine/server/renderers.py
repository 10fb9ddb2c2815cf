"""Renders golden rows in processes beside vLLM: the model's processor makes vLLM's inputs from image and prompt.

The actor starts and calls these processes. vLLM would render in the process that receives every token, and Python runs
one thread at a time there. On an H200 the GPU was then idle for a third of the time (benchmarks/LOG.md). Pixels come
back through Ray's shared memory.
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
from ray_jobs.fork_server.ray_worker import build_runtime_env

log = logging.getLogger("assay")

ROWS_PER_CALL = 8  # rows that one call renders
THREADS = 8  # per process: while one thread renders, others read small tasks
START_TIMEOUT_S = 300.0
ENVIRONMENT = {"RAY_ENABLE_ZERO_COPY_TORCH_TENSORS": "1", "OMP_NUM_THREADS": "1", "ASSAY_VLLM_FORKS": "0"}


class RenderedRequest(TypedDict):
    """A request with `inputs` as vLLM takes them, or with the kind of its `failure` and the `detail`.

    `render` is the seconds that rendering took. The other keys are those of `protocol.build_request`.
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
    """Renders the rows of tasks, ROWS_PER_CALL per call. `renderer` is vLLM's own.

    Several threads may call it at once, each for another task.
    """

    def __init__(self, prompt_builder: PromptBuilder, renderer: Any) -> None:
        self._prompt_builder, self._renderer, self._lock = prompt_builder, renderer, threading.Lock()
        self._requests: dict[str, Iterator[dict[str, Any]]] = {}

    def open_task(self, number: str, requests: Requests, task: Task) -> None:
        """Start a task; its number is unique."""
        self._requests[number] = limit_each(
            requests(task["part"], task["rows"], self._prompt_builder), self._prompt_builder.uri
        )

    def next_rows(self, number: str) -> list[RenderedRequest]:
        """The next rows of the task: none if all are rendered, and fewer if the task is closed meanwhile."""
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
        """Prompt and images as vLLM's engine takes them. Raises the errors of vLLM and of the model's processor."""
        with self._lock:
            prompts = [{"prompt_token_ids": tokens, "multi_modal_data": images}]
            (inputs,) = run_limited(lambda: self._renderer.render_cmpl(prompts), self._prompt_builder.uri)
        return inputs

    def sample(self) -> str:
        """A hash of the inputs that it makes from a canary's picture. All renderers of one model give the same hash."""
        from vllm.v1.serial_utils import MsgpackEncoder

        prompt_builder = self._prompt_builder
        tokens = run_limited(lambda: prompt_builder.tokens(prompt_builder.prompt(canary.PROMPT)), prompt_builder.uri)
        inputs = self.render(tokens, {"image": canary.make_pictures()[0]})
        hasher = hashlib.sha256(str(inputs["prompt_token_ids"]).encode())
        for name, values in sorted(inputs["mm_kwargs"].get_data().items()):
            for buffer in MsgpackEncoder().encode([name, values]):
                hasher.update(buffer)
        return hasher.hexdigest()

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
    """A renderer in its own Ray actor, made from the config of vLLM's engine."""

    def __init__(self, path: str, uri: str, config: Any, number: int) -> None:
        import torch
        from vllm.renderers import renderer_from_config

        torch.set_num_threads(1)
        # vLLM names an image by its renderer's number and a count, and takes two images of one name for the same. The
        # number 0 is vLLM's own renderer.
        config.parallel_config._api_process_rank = number
        super().__init__(PromptBuilder(Path(path), uri), renderer_from_config(config))


class RendererPool:
    """Renders for one engine, in processes on the engine's node that end with it. Without them, threads render."""

    def __init__(self, processes: int, path: Path, uri: str, config: Any) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor = ray.remote(RendererProcess).options(
            num_cpus=0,
            num_gpus=0,
            max_concurrency=THREADS,
            scheduling_strategy=here,
            runtime_env=build_runtime_env(ENVIRONMENT),
        )
        self._actors = [actor.remote(str(path), uri, config, number + 1) for number in range(processes)]
        self._rows = [0] * max(1, processes)  # rows that each process still has to render
        self._uri = uri

    def start(self, prompt_builder: PromptBuilder, renderer: Any) -> None:
        """Wait for the processes. If one does not start or makes other inputs, threads use the engine's own renderer.

        Raises ComputeTimeout if the checkpoint's files compute without an end. Without processes nothing is computed
        here. The files are first used when the engine serves, because only then the driver notices a silent engine.
        """
        self.local, self._threads = Renderer(prompt_builder, renderer), ThreadPoolExecutor(THREADS, "rendering")
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
            samples: list[str] = ray.get([actor.sample.remote() for actor in self._actors], timeout=silence_limit())
        except GetTimeoutError:  # the processes have started, so one of them holds Python's lock
            for actor in self._actors:
                ray.kill(actor)  # else this process waits for their answers before it ends
            raise self._timeout_error() from None
        return samples

    def _timeout_error(self) -> ComputeTimeout:
        return ComputeTimeout(
            f"checkpoint {self._uri}: a process that renders for it did not answer for {silence_limit():g} s: its chat "
            "template, tokenizer or processor computes without an end; mend these files"
        )

    async def render_task(self, requests: Requests, task: Task) -> AsyncGenerator[list[RenderedRequest]]:
        """The task's rows in order, some at a time. Raises RendererDied, and the errors of `requests`."""
        number, index = uuid.uuid4().hex, min(range(len(self._rows)), key=self._rows.__getitem__)
        self._rows[index] += len(task["rows"])
        ahead = asyncio.create_task(self._call(index, "open_task", number, requests, task))
        try:
            await ahead
            ahead = asyncio.create_task(self._call(index, "next_rows", number))
            while block := await ahead:
                ahead = asyncio.create_task(self._call(index, "next_rows", number))
                yield block
        finally:
            ahead.cancel()
            self._rows[index] -= len(task["rows"])
            if self._actors:
                self._actors[index].close_task.remote(number)
            else:
                self.local.close_task(number)

    async def _call(self, index: int, method: str, *arguments: Any) -> Any:
        if not self._actors:
            call = getattr(self.local, method)
            return await asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)
        answer = asyncio.ensure_future(getattr(self._actors[index], method).remote(*arguments))
        try:
            while not (await asyncio.wait([answer], timeout=silence_limit() / 2))[0]:
                await self._check_answers(index)
            return await answer
        except RayTaskError as error:
            raise error.cause from None
        except RayError as error:
            raise RendererDied(" ".join(str(error).split())[:200]) from None
        finally:
            answer.cancel()

    async def _check_answers(self, index: int) -> None:
        """Raises ComputeTimeout if no other thread of the process answers: then the computation holds Python's lock."""
        try:
            await asyncio.wait_for(
                asyncio.ensure_future(self._actors[index].__ray_ready__.remote()), silence_limit() / 2
            )
        except TimeoutError:
            raise self._timeout_error() from None
