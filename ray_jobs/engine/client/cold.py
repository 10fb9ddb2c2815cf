"""Runs the reference engine: Ray Data LLM with only its vLLM stage, because requests have their prompt already.

The job's driver calls it. Each other stage (multimodal, chat template, tokenize, detokenize) is an actor pool: 64
images on two cores took 105 s with them and 40 s without. Ray's rows have no finish reason, and answers and errors
differ in schema. This module adds the reason and unifies the schemas.
"""

import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.data.llm import build_processor, vLLMEngineProcessorConfig
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ray_jobs.checkpoints.node_cache import fetch
from ray_jobs.checkpoints.verification import verify
from ray_jobs.contract.sections.engine import Engine
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.engine.bounded_calls import limit_each
from ray_jobs.engine.chosen_settings import DEFAULT_SEQUENCES
from ray_jobs.engine.client.eviction import evict_repeatedly
from ray_jobs.engine.errors import MAX_RESTARTS, classify_error
from ray_jobs.engine.gpus import has_gpus
from ray_jobs.engine.prompt import prompt_builder_for
from ray_jobs.engine.protocol import AnswerBlock, EngineJob, EngineReport, Requests, Task, why_image_missing
from ray_jobs.engine.settings import engine_environment, vllm_arguments
from ray_jobs.fork_server.ray_worker import build_runtime_env
from ray_jobs.runtime.collector import collector_paused
from ray_jobs.runtime.ray_dataset import ray_dataset

log = logging.getLogger("assay")


def stream_answers(job: EngineJob) -> Iterator[AnswerBlock]:
    """Answers in blocks, in any order. Raises the error that `classify_error` returns for an error of Ray or vLLM."""
    checkpoint, engine, requests = job.checkpoint, job.engine, job.requests
    verify(checkpoint)
    if has_gpus() and engine.tensor_parallel_size > 1:
        _start_nodes(engine)
    model = _fetch_on_every_node(checkpoint)
    log.info("engine: starting vLLM on %s", checkpoint.uri)
    dataset = ray_dataset(job.tasks).flat_map(partial(_build_requests, checkpoint=checkpoint, requests=requests))
    report = EngineReport(kind="ray_data_llm", reason="started for this job")
    answers = answer_dataset(dataset, model, engine, prompt_builder_for(checkpoint).stop_ids, checkpoint)
    try:
        for block in answers.iter_batches(batch_size=None, batch_format="pyarrow"):
            yield AnswerBlock(block.to_pylist(), report)
    except Exception as error:
        verify(checkpoint)  # if a file was deleted or overwritten meanwhile, that is the cause
        raise classify_error(error, checkpoint.uri) from error
    verify(checkpoint)  # vLLM must have loaded the planned files


def answer_dataset(
    requests: "ray.data.Dataset",
    model: Path,
    engine: Engine,
    stop_ids: frozenset[int],
    checkpoint: Checkpoint | None = None,
) -> "ray.data.Dataset":
    """A dataset with one answer per request. The engine's node fetches any `checkpoint` before vLLM starts."""
    processor = build_processor(
        _build_processor_config(model, engine, has_gpus()),
        postprocess=_select_columns,
        postprocess_map_kwargs={"num_cpus": 0.1},
    )
    stage = processor.get_stage_by_name("vLLMEngineStage")
    stage.map_batches_kwargs["max_restarts"] = MAX_RESTARTS
    if checkpoint:
        # An assignment would run the stage's validator again. By then the stage has no placement, so the validator
        # would ask for a GPU.
        stage.__dict__["fn"] = _add_fetch(stage.fn, checkpoint)
    answers = processor(requests)
    return answers.map(_unify_schema, fn_kwargs={"stop_ids": stop_ids}, num_cpus=0.1)


def _build_requests(task: Task, checkpoint: Checkpoint, requests: Requests) -> Iterator[dict[str, Any]]:
    fetch(checkpoint)  # marks the node's copy as used last: an engine that dies starts again from it
    return limit_each(requests(task["part"], task["rows"], prompt_builder_for(checkpoint)), checkpoint.uri)


def _add_fetch(engine_stage: Any, checkpoint: Checkpoint) -> Any:
    """Ray's engine stage, which first fetches the checkpoint: its node may have started after the others got it."""

    class FetchFirst(engine_stage):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **named: Any) -> None:
            with collector_paused():
                import vllm  # noqa: F401
            fetch(checkpoint)
            super().__init__(*arguments, **named)

    return FetchFirst


def _start_nodes(engine: Engine) -> None:
    """Wait until nodes with the engine's GPUs are up, so that each of them gets the checkpoint."""
    group = placement_group([{"GPU": 1, "CPU": 1}] * engine.tensor_parallel_size)
    with evict_repeatedly(engine.gpus, "engine"):
        ray.get(group.ready())
    remove_placement_group(group)


def _fetch_on_every_node(checkpoint: Checkpoint) -> Path:
    """Fetch the checkpoint on every node, and return its path, which is the same on each."""
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    copy = ray.remote(num_cpus=0)(fetch)
    placed = [copy.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)) for node in nodes]
    copies: list[Path] = ray.get([task.remote(checkpoint) for task in placed])
    return copies[0]


def _build_processor_config(model: Path, engine: Engine, has_gpu: bool) -> vLLMEngineProcessorConfig:
    sequences = engine.max_num_seqs or DEFAULT_SEQUENCES
    batch = min(32, sequences)
    return vLLMEngineProcessorConfig(
        model_source=str(model),
        engine_kwargs=vllm_arguments(engine, has_gpu) | {"trust_remote_code": False},
        batch_size=batch,
        max_concurrent_batches=max(8, 2 * -(-sequences // batch)),
        concurrency=(engine.replicas, engine.replicas),
        placement_group_config={
            "bundles": [{"GPU": 1, "CPU": 1}] * engine.tensor_parallel_size if has_gpu else [{"CPU": 1}]
        },
        runtime_env=build_runtime_env(engine_environment(engine, has_gpu)),
        should_continue_on_error=True,
        log_engine_metrics=False,
        prepare_multimodal_stage=False,
        chat_template_stage=False,
        tokenize_stage=False,
        detokenize_stage=False,
    )


ANSWER_COLUMNS = (
    "key",
    "least_tokens",
    "refused",
    "generated_text",
    "generated_tokens",
    "num_input_tokens",
    "num_generated_tokens",
    "metrics",
)


def _select_columns(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ANSWER_COLUMNS}


def _unify_schema(row: dict[str, Any], stop_ids: frozenset[int]) -> dict[str, Any]:
    """An answer with the same columns for each row. Ray returns an error as the whole row, without postprocess."""
    tokens = [int(token) for token in row.get("generated_tokens", ())]
    timing = row.get("metrics") or {}
    arrived = float(timing.get("arrival_time", 0.0))
    decode = float(timing.get("last_token_ts", 0.0)) - float(timing.get("first_token_ts", 0.0))
    failure, detail = _find_failure(row)
    return {
        "key": row["key"],
        "text": None if failure else row["generated_text"],
        "finish_reason": None if failure else "stop" if tokens and tokens[-1] in stop_ids else "length",
        "prompt_tokens": int(row.get("num_input_tokens", 0)),
        "tokens": len(tokens),
        "arrived": arrived,
        "finished": arrived + float(timing.get("first_token_latency", 0.0)) + max(decode, 0.0),
        "failure": failure,
        "detail": detail,
    }


def _find_failure(row: dict[str, Any]) -> tuple[str | None, str | None]:
    """The failure and its detail: the image was refused, the engine failed, or the prompt is too short for its image.

    In the last case the model has made its answer up.
    """
    if refused := row.get("refused"):
        return "image-refused", refused
    if error := row.get("__inference_error__"):
        return "engine-error", str(error)[:500]
    detail = why_image_missing(row["num_input_tokens"], row["least_tokens"])
    return ("image-missing", detail) if detail else (None, None)
