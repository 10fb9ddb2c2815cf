"""The reference engine: Ray Data LLM with only its vLLM stage, since requests come with their prompt already written.

The other stages (multimodal, chat template, tokenize, detokenize) are actor pools of their own: 64 images on two cores
took 105 s with them and 40 s without. What Ray's rows lack is derived here: the finish reason, and one schema for
answers and errors.
"""

import re
from pathlib import Path
from typing import Any

import ray
from ray.data.llm import build_processor, vLLMEngineProcessorConfig

from ray_jobs.contract import BadInput, Engine, Trouble

STARTS = 3  # an engine that dies is started again this often before the job gives up


def ask(requests: "ray.data.Dataset", model: Path, engine: Engine, stop_ids: frozenset[int]) -> "ray.data.Dataset":
    """Answers to the requests, one each, in no particular order.

    A request has `key` (carried through), `prompt`, `multimodal_data`, `sampling_params` and `least_tokens`, the length
    that the prompt must have once its image is inside. An answer has `key`, `text`, `finish_reason` (stop or length),
    `prompt_tokens`, `tokens`, `arrived` and `finished` (seconds since the epoch), and `failure` with its `detail`
    (None when there is none).
    """
    processor = build_processor(
        _config(model, engine),
        postprocess=_answer,
        postprocess_map_kwargs={"num_cpus": 0.1},
    )
    stage = processor.get_stage_by_name("vLLMEngineStage")
    stage.map_batches_kwargs["max_restarts"] = STARTS
    answers = processor(requests)
    return answers.map(_one_schema, fn_kwargs={"stop_ids": stop_ids}, num_cpus=0.1)


def explain(error: Exception, uri: str) -> Exception:
    """What an engine that did not start or did not survive means, in one line; the error itself when unknown."""
    text = str(error)
    if found := re.search(r"Model architectures \[.*?\] are not supported|\S+ has no vLLM implementation", text):
        return BadInput(f"checkpoint {uri}: vLLM cannot run it: {found[0]}; see vLLM's list of supported models")
    if found := re.search(r"\S*max_model_len \(\d+\) is greater than [^\n(]*(\([^)\n]*\))?", text):
        return BadInput(f"checkpoint {uri}: {found[0].strip()}; lower engine.max_model_len in the suite")
    if "EngineDeadError" in text or "ActorDiedError" in text or "actor died" in text.lower():
        return Trouble(f"checkpoint {uri}: the engine died {STARTS + 1} times; {_last_words(text)}")
    return error


def _last_words(text: str) -> str:
    """The last exception that a worker's traceback names, without the frames above it."""
    named = [line.strip() for line in text.splitlines() if re.match(r"\s*[\w.]*(Error|Exception): ", line)]
    return f"last: {named[-1][-300:]}" if named else "the worker's log in Ray has its last words"


def _config(model: Path, engine: Engine) -> vLLMEngineProcessorConfig:
    on_gpu = "GPU" in ray.cluster_resources()
    kwargs: dict[str, Any] = {
        "dtype": engine.dtype,
        "max_model_len": engine.max_model_len,
        "max_num_seqs": engine.max_num_seqs,
        "max_num_batched_tokens": max(engine.max_num_batched_tokens, engine.max_model_len),
        "tensor_parallel_size": engine.tensor_parallel_size,
        "enforce_eager": engine.enforce_eager,
        "quantization": engine.quantization,
        "limit_mm_per_prompt": {"image": 1, "video": 0},
        "mm_processor_cache_gb": 0,  # every image is new: a cache would only cost memory and hashing
        "enable_prefix_caching": False,
    }
    environment = {"VLLM_LOGGING_LEVEL": "WARNING"}
    if on_gpu:
        kwargs["gpu_memory_utilization"] = engine.gpu_memory_utilization
        bundles = [{"GPU": 1, "CPU": 1}] * engine.tensor_parallel_size
    else:
        kwargs["distributed_executor_backend"] = "uni"
        environment["VLLM_CPU_KVCACHE_SPACE"] = "1"
        bundles = [{"CPU": 1}]
    batch = max(1, min(32, engine.max_num_seqs))
    return vLLMEngineProcessorConfig(
        model_source=str(model),
        engine_kwargs=kwargs,
        batch_size=batch,
        max_concurrent_batches=max(8, 2 * -(-engine.max_num_seqs // batch)),
        concurrency=(engine.replicas, engine.replicas),
        placement_group_config={"bundles": bundles},
        runtime_env={"env_vars": environment},
        should_continue_on_error=True,
        log_engine_metrics=False,
        prepare_multimodal_stage=False,
        chat_template_stage=False,
        tokenize_stage=False,
        detokenize_stage=False,
    )


KEPT = (
    "key",
    "least_tokens",
    "generated_text",
    "generated_tokens",
    "num_input_tokens",
    "num_generated_tokens",
    "metrics",
)


def _answer(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in KEPT}


def _one_schema(row: dict[str, Any], stop_ids: frozenset[int]) -> dict[str, Any]:
    """Ray hands an error back as the whole row without postprocess; here both kinds get the same columns."""
    tokens = [int(token) for token in row.get("generated_tokens", ())]
    timing = row.get("metrics") or {}
    arrived = float(timing.get("arrival_time", 0.0))
    decode = float(timing.get("last_token_ts", 0.0)) - float(timing.get("first_token_ts", 0.0))
    failure, detail = _failure(row)
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


def _failure(row: dict[str, Any]) -> tuple[str | None, str | None]:
    """An engine's error, or a prompt too short to hold its image: the model then made its answer up."""
    if error := row.get("__inference_error__"):
        return "engine-error", str(error)[:500]
    if row["num_input_tokens"] < row["least_tokens"]:
        return "image-missing", f"prompt of {row['num_input_tokens']} tokens, {row['least_tokens']} with its image"
    return None, None
