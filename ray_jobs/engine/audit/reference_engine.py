"""Captions again with plain vLLM, started from the checkpoint in storage. Only the prompt is shared with a warm engine.

The driver of `audit` calls `recaption`. The engine runs in the process of one Ray task and ends with that process. A
checkpoint on S3 is copied again, because the warm engine loaded the copy that the node keeps.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from ray_jobs.checkpoints.node_cache import fetch
from ray_jobs.checkpoints.verification import verify
from ray_jobs.contract.sections.engine import Engine
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.engine import gpus
from ray_jobs.engine.audit import divergence
from ray_jobs.engine.bounded_calls import limit_each
from ray_jobs.engine.client import eviction
from ray_jobs.engine.engine_folder import use_engine_folder
from ray_jobs.engine.errors import classify_error
from ray_jobs.engine.prompt import PromptBuilder
from ray_jobs.engine.protocol import Requests, Task, why_image_missing
from ray_jobs.engine.sampling import make_params
from ray_jobs.engine.settings import engine_environment, vllm_arguments
from ray_jobs.fork_server.ray_worker import build_runtime_env
from ray_jobs.inputs.errors import RetryableError
from ray_jobs.runtime.collector import collector_paused
from ray_jobs.runtime.private_cache import ensure_cache_folder

PROMPT_TAIL = 16  # tokens of the prompt that are decoded with the answer: some tokenizers' first word depends on them


@dataclass(frozen=True)
class Recaptioned:
    """By request key: the text of the reference engine, and the log-probability gap (nats) if the stored text differs.

    `seconds` are those of the `start` and of the `answers`.
    """

    texts: dict[str, str]
    gaps: dict[str, float | None]
    dtype: str
    seconds: dict[str, float]


def recaption(
    checkpoint: Checkpoint, engine: Engine, tasks: list[Task], requests: Requests, stored: dict[str, divergence.Caption]
) -> Recaptioned:
    """Caption the tasks' rows again with a reference engine, and compare with the stored captions, by request key.

    Raises InputError if the checkpoint is no longer the planned one, RetryableError if the engine dies.
    """
    verify(checkpoint)
    has_gpu = gpus.has_gpus()
    alone = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}  # vLLM runs in the task's process, so that nothing outlives it
    # One call per process, so that no other task shares it.
    task = ray.remote(max_calls=1, max_retries=0)(_run_task).options(
        num_cpus=1,
        num_gpus=engine.gpus if has_gpu else 0,
        runtime_env=build_runtime_env(engine_environment(engine, has_gpu) | alone),
    )
    try:
        answers = task.remote(checkpoint, engine, has_gpu, tasks, requests, stored)
        with eviction.evict_repeatedly(engine.gpus, "audit"):
            ray.get(next(answers))  # the task has its GPU
        recaptioned: Recaptioned = ray.get(next(answers))
    except RayTaskError as error:
        verify(checkpoint)  # if a file was deleted or overwritten meanwhile, that is the cause
        if (explained := classify_error(error, checkpoint.uri)) is error:
            raise
        raise explained from error
    except RayError as error:
        reason = " ".join(str(error).split())[:200]
        raise RetryableError(f"checkpoint {checkpoint.uri}: the fresh engine died: {reason}; audit again") from error
    return recaptioned


def _run_task(*arguments: Any) -> Iterator[Recaptioned | None]:
    """Yields None as soon as the task runs, then the result of `_recaption`."""
    yield None
    yield _recaption(*arguments)


def _recaption(
    checkpoint: Checkpoint,
    engine: Engine,
    has_gpu: bool,
    tasks: list[Task],
    requests: Requests,
    stored: dict[str, divergence.Caption],
) -> Recaptioned:
    start = time.time()
    with collector_paused():
        from vllm import LLM

    ensure_cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".audit-", dir=ensure_cache_folder()) as folder:
        path = fetch(checkpoint, Path(folder))
        prompt_builder = PromptBuilder(path, checkpoint.uri)
        use_engine_folder()
        llm = LLM(model=str(path), trust_remote_code=False, **vllm_arguments(engine, has_gpu))
        verify(checkpoint)
        prompts = [
            request
            for task in tasks
            for request in limit_each(requests(task["part"], task["rows"], prompt_builder), checkpoint.uri)
        ]
        generation_start = time.time()
        outputs = llm.generate(
            [
                {"prompt_token_ids": request["tokenized_prompt"], "multi_modal_data": request["multimodal_data"]}
                for request in prompts
            ],
            [make_params(request["sampling_params"], logprobs=divergence.TOP_LOGPROBS) for request in prompts],
            use_tqdm=False,
        )
    seconds = {"start": round(generation_start - start, 3), "answers": round(time.time() - generation_start, 3)}
    result = Recaptioned({}, {}, str(llm.model_config.dtype).removeprefix("torch."), seconds)
    for request, output in zip(prompts, outputs, strict=True):
        if detail := why_image_missing(len(output.prompt_token_ids), request["least_tokens"]):
            raise RetryableError(
                f"checkpoint {checkpoint.uri}: the fresh engine lost the image of {request['key']}: {detail}"
            )
        result.texts[request["key"]] = output.outputs[0].text
        if output.outputs[0].text != stored[request["key"]].text:
            decode = _make_decoder(prompt_builder.tokenizer, output.prompt_token_ids[-PROMPT_TAIL:])
            result.gaps[request["key"]] = divergence.logprob_gap(
                stored[request["key"]], _read_generation(output.outputs[0]), decode, prompt_builder.stop_ids
            )
    return result


def _read_generation(answer: Any) -> divergence.Generation:
    likeliest = [{token: choice.logprob for token, choice in choices.items()} for choices in answer.logprobs]
    return divergence.Generation(answer.text, list(answer.token_ids), likeliest)


def _make_decoder(tokenizer: Any, opening: Sequence[int]) -> Callable[[Sequence[int]], str]:
    """A function from an answer's tokens to its text as vLLM writes it after the prompt, without special tokens."""

    def text(tokens: Sequence[int]) -> str:
        decoded: str = tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return decoded

    before = len(text(opening))
    return lambda tokens: text([*opening, *tokens])[before:]
