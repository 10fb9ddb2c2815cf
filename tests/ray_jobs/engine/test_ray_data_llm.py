"""The meaning of the rows of Ray Data's engine, without an engine."""

from typing import Any

import pytest
from ray.llm._internal.batch.stages import vLLMEngineStage
from stage_jobs import GOOD

from ray_jobs.contract.sections.engine import Engine
from ray_jobs.engine.client.cold import _build_processor_config, _unify_schema
from ray_jobs.engine.errors import classify_error
from ray_jobs.inputs.errors import InputError, RetryableError

STOP = frozenset({2})
ROW: dict[str, Any] = {
    "key": "part-00000/3",
    "least_tokens": 20,
    "refused": None,
    "generated_text": "a dot",
    "generated_tokens": [5, 6, 2],
    "num_input_tokens": 20,
    "num_generated_tokens": 3,
    "metrics": {"arrival_time": 100.0, "first_token_latency": 0.5, "first_token_ts": 7.0, "last_token_ts": 9.0},
}


def test_an_answer() -> None:
    assert _unify_schema(ROW, STOP) == {
        "key": "part-00000/3",
        "text": "a dot",
        "finish_reason": "stop",
        "prompt_tokens": 20,
        "tokens": 3,
        "arrived": 100.0,
        "finished": 102.5,
        "failure": None,
        "detail": None,
    }


@pytest.mark.parametrize(
    ("tokens", "reason"), [([5, 2], "stop"), ([2], "stop"), ([5, 6], "length"), ([2, 5], "length")]
)
def test_the_last_token_gives_the_finish_reason(tokens: list[int], reason: str) -> None:
    assert _unify_schema(ROW | {"generated_tokens": tokens}, STOP)["finish_reason"] == reason


def test_a_prompt_too_short_to_hold_its_image_is_a_failure_and_no_caption() -> None:
    answer = _unify_schema(ROW | {"num_input_tokens": 19}, STOP)
    assert (answer["failure"], answer["text"], answer["finish_reason"]) == ("image-missing", None, None)
    assert answer["detail"] == "prompt of 19 tokens, 20 with its image"


def test_an_error_row_has_the_columns_of_an_answer() -> None:
    """Ray returns such a row as it was sent, with the error in a further column."""
    row = {"key": "part-00000/3", "prompt": "x", "least_tokens": 20, "__inference_error__": "ValueError: too long"}
    answer = _unify_schema(row, STOP)
    assert list(answer) == list(_unify_schema(ROW, STOP))
    assert (answer["failure"], answer["detail"], answer["text"]) == ("engine-error", "ValueError: too long", None)


def test_a_refused_image_is_reported_in_its_processors_words() -> None:
    """vLLM refuses the image too, with another text."""
    message = "an image of 402 x 2: absolute aspect ratio must be smaller than 200, got 201.0"
    row = {"key": "part-00000/3", "prompt": "x", "least_tokens": 0, "refused": message, "__inference_error__": "E"}
    answer = _unify_schema(row, STOP)
    assert (answer["failure"], answer["detail"], answer["text"]) == ("image-refused", message, None)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (
            "x\n  Value error, Model architectures ['Nope'] are not supported for now. Supported: " + "y" * 999,
            InputError,
        ),
        ("ValueError: NopeModel has no vLLM implementation and the Transformers ...", InputError),
        (
            "  Value error, User-specified max_model_len (9999) is greater than the derived max_model_len "
            "(max_position_embeddings=4096.0 or model_max_length=None in model's config.json). x [type=value_error]",
            InputError,
        ),
        (
            "creation task ... There is no module or parameter named 'vision_tower.Nope' in GemmaForX. The ...",
            InputError,
        ),
        (
            "creation task ... AssertionError\nValueError: tensor model.Nope.weight of shape [96, 9999] does not fit "
            "the model\nRuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
            InputError,
        ),
        ("vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue", RetryableError),
        ("The actor died unexpectedly before finishing this task.", RetryableError),
    ],
)
def test_what_stopped_the_engine_is_one_line(text: str, kind: type[Exception]) -> None:
    error = classify_error(RuntimeError(text), "/models/m")
    assert type(error) is kind
    assert str(error).startswith("checkpoint /models/m: ")
    assert "\n" not in str(error)
    assert len(str(error)) < 250
    assert "type=value_error" not in str(error)
    assert all(word in str(error) for word in ("Nope", "9999") if word in text)


def test_an_unknown_error_stays_what_it_is() -> None:
    error = RuntimeError("something else")
    assert classify_error(error, "/models/m") is error


@pytest.mark.parametrize("replicas", [1, 3])
@pytest.mark.parametrize("parallel", [1, 2, 4])
def test_a_model_spread_over_gpus_has_that_many_for_each_replica(parallel: int, replicas: int) -> None:
    """As Ray resolves the settings: one worker for each GPU in a placement group, and no GPU outside it."""
    config = _build_processor_config(GOOD, Engine(tensor_parallel_size=parallel, replicas=replicas), has_gpu=True)
    settings = {"engine_kwargs": config.engine_kwargs, "placement_group_config": config.placement_group_config}
    stage = vLLMEngineStage(fn_constructor_kwargs=settings, map_batches_kwargs={})
    arguments, resources = stage.fn_constructor_kwargs["engine_kwargs"], stage.map_batches_kwargs
    assert config.concurrency == (replicas, replicas)
    assert arguments["tensor_parallel_size"] == parallel
    if parallel == 1:
        assert (arguments["distributed_executor_backend"], resources["num_gpus"]) == ("uni", 1)
    else:
        assert (arguments["distributed_executor_backend"], resources["num_gpus"]) == ("ray", 0)
        assert resources["ray_remote_args_fn"].args[2]["bundles"] == [{"GPU": 1, "CPU": 1}] * parallel
