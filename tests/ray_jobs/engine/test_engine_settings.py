import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ray_jobs.contract.sections.engine import Engine
from ray_jobs.engine.settings import build_warm_config, engine_environment

pytestmark = pytest.mark.slow  # they import vLLM

CHECKPOINT = str(Path(__file__).parents[3] / "demo" / "checkpoints" / "step-0800")


@pytest.fixture
def requested(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The arguments that vLLM gets. A machine without a GPU cannot build the config that vLLM makes of them."""
    import vllm

    settings, real = dict[str, Any](), vllm.AsyncEngineArgs

    def note_arguments(**arguments: Any) -> Any:
        settings.update(arguments)
        return real(**arguments)

    monkeypatch.setattr(vllm, "AsyncEngineArgs", note_arguments)
    return settings


@pytest.mark.parametrize("most", [513, 600, 1024, 2048])
def test_decoding_many_sequences_runs_in_graphs(requested: dict[str, Any], most: int) -> None:
    build_warm_config(Engine(max_num_seqs=most, max_model_len=512), True, CHECKPOINT)
    compilation = requested["compilation_config"]
    sizes = compilation["cudagraph_capture_sizes"]
    assert (compilation["cudagraph_mode"], sizes[-1]) == ("FULL_DECODE_ONLY", most)
    for count in range(1, most + 1):
        graph = next(size for size in sizes if size >= count)
        assert graph - count <= max(7, count / 8)  # sequences that it computes for nobody


def test_with_fewer_graphs_are_as_vllm_has_them(requested: dict[str, Any]) -> None:
    build_warm_config(Engine(max_num_seqs=512, max_model_len=512), True, CHECKPOINT)
    assert requested["compilation_config"] == {"compile_mm_encoder": True}


def test_an_eager_engine_has_no_graphs(requested: dict[str, Any]) -> None:
    build_warm_config(Engine(max_num_seqs=1024, max_model_len=512, enforce_eager=True), True, CHECKPOINT)
    assert "compilation_config" not in requested


@pytest.mark.parametrize(
    ("eager", "has_gpu", "compiles"), [(True, False, False), (False, False, True), (True, True, True)]
)
def test_only_an_eager_engine_on_a_cpu_has_torch_compile_nothing(eager: bool, has_gpu: bool, compiles: bool) -> None:
    """Not even the counts that vLLM would compile for the canary's log-probabilities, with a C++ compiler."""
    program = "import torch._dynamo; print(not torch._dynamo.config.disable)"
    variables = os.environ | engine_environment(Engine(enforce_eager=eager), has_gpu)
    printed = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, text=True, check=True)
    assert printed.stdout == f"{compiles}\n"


@pytest.mark.parametrize(("ahead", "room"), [(True, 4096), (False, 2048)])
def test_there_is_room_for_the_images_of_all_steps_under_way(
    monkeypatch: pytest.MonkeyPatch, ahead: bool, room: int
) -> None:
    """vLLM on a CPU never schedules a step while another runs. A stand-in makes it choose as on a GPU."""
    import vllm

    class Scheduling(vllm.AsyncEngineArgs):  # type: ignore[misc]  # vLLM's types are not read
        def create_engine_config(self, *arguments: Any) -> Any:
            config = super().create_engine_config(*arguments)
            config.scheduler_config.async_scheduling = ahead
            return config

    monkeypatch.setattr(vllm, "AsyncEngineArgs", Scheduling)
    config = build_warm_config(Engine(max_model_len=512, max_num_batched_tokens=2048), False, CHECKPOINT)
    assert config.scheduler_config.encoder_cache_size == room
