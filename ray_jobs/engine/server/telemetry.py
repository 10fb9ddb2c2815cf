"""What an engine is doing, as Ray metrics, and how long its GPU was busy.

vLLM's own metrics (requests, tokens, queue, prefill, decode) are handed to Ray by vLLM; here is what it does not know.
"""

from contextlib import suppress
from typing import Any

from ray.util.metrics import Counter, Gauge, Histogram

SWAP_BOUNDS = [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0]  # seconds


def vllm_stat_loggers() -> list[Any] | None:
    """What vLLM is to report to: Ray, where its wrapper for that can be had, for which Ray Serve must be there."""
    try:
        from ray import serve  # noqa: F401
        from vllm.v1.metrics.ray_wrappers import RayPrometheusStatLogger
    except ImportError:
        return None
    return [RayPrometheusStatLogger]


class EngineTelemetry:
    """`busy` and `idle` are the seconds, of those sampled, in which the GPU ran a kernel and in which it did not."""

    def __init__(self, gpu: bool) -> None:
        self.gpu, self.busy, self.idle = gpu, 0.0, 0.0
        self._answers = Counter("assay_answers", "Answers, by what failed", tag_keys=("failure",))
        self._swap = Histogram("assay_swap_seconds", "Change of weights, checks included", boundaries=SWAP_BOUNDS)
        self._busy = Gauge("assay_gpu_busy", "Share of the last moment in which the engine's GPU ran a kernel, 0 to 1")

    def sample(self, seconds: float) -> None:
        """Look at the GPU, for the `seconds` since the last look."""
        if not self.gpu:
            return
        import torch

        with suppress(Exception):  # a GPU whose driver does not tell, as one that is partitioned
            share = torch.cuda.utilization(0) / 100
            self.busy, self.idle = self.busy + share * seconds, self.idle + (1 - share) * seconds
            self._busy.set(share)

    def forget(self) -> None:
        """Begin anew, for another job."""
        self.busy = self.idle = 0.0

    def seconds(self) -> dict[str, float]:
        """`gpu_busy` and `gpu_idle`, nothing where there is no GPU to look at."""
        return {"gpu_busy": self.busy, "gpu_idle": self.idle} if self.busy or self.idle else {}

    def answered(self, failure: str | None) -> None:
        self._answers.inc(tags={"failure": failure or ""})

    def swapped(self, seconds: float) -> None:
        self._swap.observe(seconds)
