"""Reports the actor's Ray metrics, and measures how long its GPU was busy. vLLM reports its own metrics to Ray."""

from contextlib import suppress
from typing import Any

from ray.util.metrics import Counter, Gauge, Histogram

SWAP_BOUNDS = [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0]  # seconds


def vllm_stat_loggers() -> list[Any] | None:
    """The loggers with which vLLM reports to Ray; None without Ray Serve, because the loggers need it."""
    try:
        from ray import serve  # noqa: F401
        from vllm.v1.metrics.ray_wrappers import RayPrometheusStatLogger
    except ImportError:
        return None
    return [RayPrometheusStatLogger]


def read_gpu_bytes() -> int | None:
    """The memory of the process's first GPU; None if the driver does not report it. This does not take the GPU."""
    from vllm.platforms import current_platform

    with suppress(Exception):  # as below
        return int(current_platform.get_device_total_memory())
    return None


class EngineTelemetry:
    """The metrics of one actor. `busy` and `idle` are the sampled seconds in which the GPU ran a kernel or none."""

    def __init__(self, has_gpu: bool) -> None:
        self.has_gpu, self.busy, self.idle = has_gpu, 0.0, 0.0
        self._answers = Counter("assay_answers", "Answers, by what failed", tag_keys=("failure",))
        self._swap = Histogram("assay_swap_seconds", "Change of weights, checks included", boundaries=SWAP_BOUNDS)
        self._busy = Gauge("assay_gpu_busy", "Share of the last moment in which the engine's GPU ran a kernel, 0 to 1")

    def sample_gpu(self, seconds: float) -> None:
        """Sample the GPU's utilization, and count it for the `seconds` since the last sample."""
        if not self.has_gpu:
            return
        import torch

        with suppress(Exception):  # some drivers do not report it, for example for a partitioned GPU
            share = torch.cuda.utilization(0) / 100
            self.busy, self.idle = self.busy + share * seconds, self.idle + (1 - share) * seconds
            self._busy.set(share)

    def reset(self) -> None:
        """Set the seconds to 0, because another job begins."""
        self.busy = self.idle = 0.0

    def gpu_seconds(self) -> dict[str, float]:
        """`gpu_busy` and `gpu_idle` in seconds; empty without a GPU."""
        return {"gpu_busy": self.busy, "gpu_idle": self.idle} if self.busy or self.idle else {}

    def count_answer(self, failure: str | None) -> None:
        self._answers.inc(tags={"failure": failure or ""})

    def observe_swap(self, seconds: float) -> None:
        self._swap.observe(seconds)
