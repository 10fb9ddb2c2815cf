"""Finds out whether this cluster has GPUs, and logs how long a job waits for one. The drivers call it.

If GPU nodes start on demand, none is up before a job requests a GPU. So the deployment says in `ASSAY_GPU` whether the
cluster can have GPUs. Only if that is not set, the nodes that are up decide.
"""

import logging
import os
import time
from typing import Any

import ray

from ray_jobs.inputs.errors import InputError

log = logging.getLogger("assay")

LOG_INTERVAL_S = 60.0  # seconds between lines about a wait


def has_gpus() -> bool:
    """Whether the cluster has a GPU or can start one: by `ASSAY_GPU` (1 or 0), or else by the nodes that are up.

    Raises InputError if `ASSAY_GPU` has another value.
    """
    setting = os.environ.get("ASSAY_GPU", "").strip()
    if setting not in ("", "0", "1"):
        raise InputError(
            f"ASSAY_GPU is {setting!r}; set it to 1 (GPUs are there or can be had), to 0 (none), or not at all"
        )
    return "GPU" in ray.cluster_resources() if setting == "" else setting == "1"


def starts_nodes() -> bool:
    """Whether the cluster may start a node with a GPU, because `ASSAY_GPU` says that it can have GPUs."""
    return os.environ.get("ASSAY_GPU", "").strip() == "1"


def max_gpus_per_node() -> int:
    """The number of GPUs of the largest node that is up or, by `ASSAY_GPUS_PER_NODE`, that may be started.

    0 if no GPU is known. Raises InputError if the setting is not a number.
    """
    setting = os.environ.get("ASSAY_GPUS_PER_NODE", "").strip() or "0"
    if not setting.isdecimal():
        raise InputError(f"ASSAY_GPUS_PER_NODE is {setting!r}; set it to the number of GPUs of the largest node")
    up = [int(node["Resources"].get("GPU", 0)) for node in ray.nodes() if node["Alive"]]
    return max([int(setting) if starts_nodes() else 0, *up])


def count_gpus() -> int | None:
    """The number of GPUs that this cluster can have, those that it may start included; None if nobody knows.

    That is the number of GPUs that are up. If the cluster may start nodes, `ASSAY_MAX_GPUS` may be larger, and without
    `ASSAY_MAX_GPUS` the number is unknown. Raises InputError if that setting is not a number.
    """
    setting = os.environ.get("ASSAY_MAX_GPUS", "").strip()
    if setting and not setting.isdecimal():
        raise InputError(f"ASSAY_MAX_GPUS is {setting!r}; set it to the number of GPUs that the cluster can have")
    if not setting and starts_nodes():
        return None
    return max(int(setting or 0) if starts_nodes() else 0, int(ray.cluster_resources().get("GPU", 0)))


class GpuWait:
    """Logs, at most once per minute, that the job waits for `wanted` GPUs; `who` begins the line."""

    def __init__(self, wanted: float, who: str) -> None:
        self._wanted, self._who = wanted, who
        self._began = time.monotonic()
        self._last_line: float | None = None

    def log_wait(self) -> None:
        """Log a line, unless the last line is younger than LOG_INTERVAL_S."""
        now = time.monotonic()
        if self._last_line is not None and now - self._last_line < LOG_INTERVAL_S:
            return
        self._last_line = now
        total = ray.cluster_resources().get("GPU", 0)
        free = ray.available_resources().get("GPU", 0)
        log.info(
            "%s: waiting for %g GPU: %g free of %g on the nodes that are up%s; %.0f s so far",
            self._who, self._wanted, free, total, ", more may be started" if starts_nodes() else "", now - self._began,
        )  # fmt: skip


def is_placed(actor: Any) -> bool:
    """Whether Ray has given the actor a process on a node. The actor then has its GPU, and starts or runs."""
    return bool(_read_state(actor).get("Pid"))


def is_started(actor: Any) -> bool:
    """Whether the actor's constructor has returned, so that the actor answers calls."""
    return bool(_read_state(actor).get("State") == "ALIVE")


def _read_state(actor: Any) -> dict[str, Any]:
    from ray._private.state import actors  # the public API needs Ray's dashboard, which may not run

    state: dict[str, Any] = actors(actor._actor_id.hex()) or {}
    return state
