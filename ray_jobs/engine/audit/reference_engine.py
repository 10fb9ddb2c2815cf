"""Plain vLLM, started from the checkpoint in storage for one audit: nothing of the warm engine is in it but the prompt.

It runs in a Ray task's own process and ends with it. A checkpoint on S3 is copied anew, since the copy that a node
keeps is the one that the warm engine was handed.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from ray_jobs.checkpoints.inspect import verify
from ray_jobs.checkpoints.node_cache import fetch
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.contract.suite import Engine
from ray_jobs.engine import gpus
from ray_jobs.engine.audit import divergence
from ray_jobs.engine.bounded_calls import limit_each
from ray_jobs.engine.client import eviction
from ray_jobs.engine.errors import classify_error
from ray_jobs.engine.prompt import PromptBuilder
from ray_jobs.engine.protocol import Requests, Task, why_image_missing
from ray_jobs.engine.sampling import make_params
from ray_jobs.engine.settings import engine_environment, vllm_arguments
from ray_jobs.inputs.errors import RetryableError
from ray_jobs.runtime.private_cache import cache

PROMPT_TAIL = 16  # tokens of the prompt before an answer's: some tokenizers write the first word by what is before it


@dataclass(frozen=True)
class Recaptioned:
    """By key: what the fresh engine said, and the gap to the stored caption where it is another."""

    texts: dict[str, str]
    gaps: dict[str, float | None]
    dtype: str
    seconds: dict[str, float]


def recaption(
    checkpoint: Checkpoint, engine: Engine, tasks: list[Task], requests: Requests, stored: dict[str, divergence.Caption]
) -> Recaptioned:
    """Have the tasks' rows answered by a fresh engine and hold the stored captions against it, by the requests' keys.

    Raises InputError for a checkpoint that is no longer the one that was planned, RetryableError for an engine that
    dies.
    """
    verify(checkpoint)
    gpu = gpus.has_gpus()
    alone = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}  # vLLM in the task's process, so that nothing outlives it
    task = ray.remote(max_calls=1, max_retries=0)(_run_task).options(
        num_cpus=1, num_gpus=engine.gpus if gpu else 0, runtime_env={"env_vars": engine_environment(gpu) | alone}
    )  # a task of one call: its process is its own
    try:
        answers = task.remote(checkpoint, engine, gpu, tasks, requests, stored)
        with eviction.repeated_eviction(engine.gpus, "audit"):
            ray.get(next(answers))  # the task has its GPU
        found: Recaptioned = ray.get(next(answers))
    except RayTaskError as error:
        verify(checkpoint)  # what was deleted or overwritten meanwhile is the cause
        if (explained := classify_error(error, checkpoint.uri)) is error:
            raise
        raise explained from error
    except RayError as error:
        why = " ".join(str(error).split())[:200]
        raise RetryableError(f"checkpoint {checkpoint.uri}: the fresh engine died: {why}; audit again") from error
    return found


def _run_task(*arguments: Any) -> Iterator[Recaptioned | None]:
    """Nothing, the moment the task runs; then what `_compared` gives."""
    yield None
    yield _recaption(*arguments)


def _recaption(
    checkpoint: Checkpoint,
    engine: Engine,
    gpu: bool,
    tasks: list[Task],
    requests: Requests,
    stored: dict[str, divergence.Caption],
) -> Recaptioned:
    began = time.time()
    from vllm import LLM

    cache().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".audit-", dir=cache()) as own:
        path = fetch(checkpoint, Path(own))
        maker = PromptBuilder(path, checkpoint.uri)
        llm = LLM(model=str(path), trust_remote_code=False, **vllm_arguments(engine, gpu))
        verify(checkpoint)
        asked = [
            one for task in tasks for one in limit_each(requests(task["part"], task["rows"], maker), checkpoint.uri)
        ]
        started = time.time()
        outputs = llm.generate(
            [
                {"prompt_token_ids": one["tokenized_prompt"], "multi_modal_data": one["multimodal_data"]}
                for one in asked
            ],
            [make_params(one["sampling_params"], logprobs=divergence.TOP_LOGPROBS) for one in asked],
            use_tqdm=False,
        )
    seconds = {"start": round(started - began, 3), "answers": round(time.time() - started, 3)}
    found = Recaptioned({}, {}, str(llm.model_config.dtype).removeprefix("torch."), seconds)
    for one, output in zip(asked, outputs, strict=True):
        if detail := why_image_missing(len(output.prompt_token_ids), one["least_tokens"]):
            raise RetryableError(
                f"checkpoint {checkpoint.uri}: the fresh engine lost the image of {one['key']}: {detail}"
            )
        found.texts[one["key"]] = output.outputs[0].text
        if output.outputs[0].text != stored[one["key"]].text:
            decode = _make_decoder(maker.tokenizer, output.prompt_token_ids[-PROMPT_TAIL:])
            found.gaps[one["key"]] = divergence.logprob_gap(
                stored[one["key"]], _read_generation(output.outputs[0]), decode, maker.stop_ids
            )
    return found


def _read_generation(answer: Any) -> divergence.Generation:
    likeliest = [{token: one.logprob for token, one in choices.items()} for choices in answer.logprobs]
    return divergence.Generation(answer.text, list(answer.token_ids), likeliest)


def _make_decoder(tokenizer: Any, opening: Sequence[int]) -> Callable[[Sequence[int]], str]:
    """From an answer's tokens to its text, as vLLM makes it: after the prompt's last tokens, special ones left out."""

    def text(tokens: Sequence[int]) -> str:
        told: str = tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return told

    before = len(text(opening))
    return lambda tokens: text([*opening, *tokens])[before:]
