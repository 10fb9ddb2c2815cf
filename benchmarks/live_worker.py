"""Changes vLLM's scheduler while the engine runs: the worker extension of `benchmarks.live_settings`.

With one GPU, vLLM's worker and its scheduler are in one process. vLLM imports this module before it makes the
scheduler, so the module can keep the scheduler for the worker's method.
"""

import gc
from functools import wraps
from typing import Any

from vllm.v1.core.sched.scheduler import Scheduler

from ray_jobs.engine.vllm_plugin.worker import WorkerExtension

SCHEDULERS: list[Any] = []  # of this process: one
_initialize = Scheduler.__init__


@wraps(_initialize)
def _keep_scheduler(self: Any, *arguments: Any, **options: Any) -> None:
    _initialize(self, *arguments, **options)
    SCHEDULERS.append(self)


Scheduler.__init__ = _keep_scheduler


class LiveSettings(WorkerExtension):
    """Assay's worker with `set_scheduler`, which is called by name with `collective_rpc`."""

    def set_scheduler(self, seqs: int, tokens: int, interval: int = 1, collect: bool = True) -> dict[str, int]:
        """Run at most `seqs` requests and `tokens` tokens per step from now on. Returns what the scheduler has.

        New images are admitted only in each `interval`-th step. `collect` says whether Python collects garbage.
        """
        (scheduler,) = SCHEDULERS
        scheduler.max_num_running_reqs = seqs
        scheduler.max_num_scheduled_tokens = scheduler.max_num_encoder_input_tokens = tokens
        vars(scheduler).pop("schedule", None)
        if interval > 1:
            _admit_in_intervals(scheduler, interval, seqs)
        (gc.enable if collect else gc.disable)()
        return {"seqs": scheduler.max_num_running_reqs, "tokens": scheduler.max_num_scheduled_tokens}


def _admit_in_intervals(scheduler: Any, interval: int, seqs: int) -> None:
    """Let steps between run only requests that are running, unless fewer than three quarters of `seqs` run."""
    step, schedule = 0, scheduler.schedule

    def schedule_step(*arguments: Any, **options: Any) -> Any:
        nonlocal step
        step += 1
        waits = step % interval != 0 and len(scheduler.running) > 0.75 * seqs
        if waits:
            scheduler.prefill_capacity_bound = False  # else vLLM would admit images because some wait
            return schedule(throttle_prefills=True)
        return schedule(*arguments, **options)

    scheduler.schedule = schedule_step
