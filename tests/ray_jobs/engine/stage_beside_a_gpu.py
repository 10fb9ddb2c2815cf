"""A stage's job on a cluster whose GPUs are only numbers: Ray gives each engine its share, and vLLM runs on the CPU.

test_autoscaled_engine.py and test_one_gpu.py start this driver instead of `python -m ray_jobs.caption` and
other stages; the first argument names the stage. It replaces vLLM's settings for a GPU, the
environment of the engine's process, and the memory that the GPU reports, because there is no GPU. A job lasts until it
has started the next stage's engine, because with eight images it could be done before. All else is the job's own code,
and so is what it asks of Ray.
"""

import sys
from typing import Any

from ray_jobs.command_line import stages
from ray_jobs.command_line.frame import run_command
from ray_jobs.contract.sections.engine import Engine
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.engine.chosen_settings import Workload
from ray_jobs.engine.client import early_engines, gpu_shares, session
from ray_jobs.engine.client.early_start import EarlyStart
from ray_jobs.engine.server.actor import WarmEngine
from ray_jobs.engine.settings import engine_environment


class EngineOnCpu(WarmEngine):
    """Requests a GPU from Ray, and runs with the settings for a CPU."""

    def __init__(self, checkpoint: Checkpoint, engine: Engine, has_gpu: bool, token: str, workload: Workload) -> None:
        assert has_gpu, "the job did not ask for a GPU"
        super().__init__(checkpoint, engine, False, token, workload)


class StartBeforeTheEnd(EarlyStart):
    """An early start for which the job waits."""

    def __exit__(self, *error: Any) -> None:
        if self._thread:
            self._thread.join(120)
        super().__exit__(*error)


def read_gpu_bytes() -> int:
    return 80 << 30


if __name__ == "__main__":
    vars(session).update(WarmEngine=EngineOnCpu, engine_environment=lambda engine, _: engine_environment(engine, False))
    vars(gpu_shares).update(read_gpu_bytes=read_gpu_bytes)
    vars(early_engines).update(EarlyStart=StartBeforeTheEnd)
    command = {"preprocess": stages.preprocess, "caption": stages.caption, "evaluate": stages.evaluate}[sys.argv.pop(1)]
    sys.exit(run_command(command))
