"""Whether this cluster has GPUs, and how a job waits for one. Every program and engine asks here.

The driver calls it. A cluster whose GPU nodes start on demand has none that is up before a job asks for it, so the
deployment says in `ASSAY_GPU` what the cluster may have; only where it says nothing, the nodes that are up decide.
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
    """Whether GPUs are there or can be had: `ASSAY_GPU` is 1 or 0, and without it a node that is up has one.

    Raises InputError for another value.
    """
    setting = os.environ.get("ASSAY_GPU", "").strip()
    if setting not in ("", "0", "1"):
        raise InputError(
            f"ASSAY_GPU is {setting!r}; set it to 1 (GPUs are there or can be had), to 0 (none), or not at all"
        )
    return "GPU" in ray.cluster_resources() if setting == "" else setting == "1"


def starts_nodes() -> bool:
    """Whether a GPU that no node has now may come, because the deployment says that the cluster can have GPUs."""
    return os.environ.get("ASSAY_GPU", "").strip() == "1"


def max_gpus_per_node() -> int:
    """The GPUs of the largest node: of those that are up and, by `ASSAY_GPUS_PER_NODE`, of those that may be started.

    0 where none is known. Raises InputError for a setting that is no number.
    """
    setting = os.environ.get("ASSAY_GPUS_PER_NODE", "").strip() or "0"
    if not setting.isdecimal():
        raise InputError(f"ASSAY_GPUS_PER_NODE is {setting!r}; set it to the number of GPUs of the largest node")
    up = [int(node["Resources"].get("GPU", 0)) for node in ray.nodes() if node["Alive"]]
    return max([int(setting) if starts_nodes() else 0, *up])


class GpuWait:
    """Says in the job's log, once a minute, what a job waits for while it waits for a GPU."""

    def __init__(self, wanted: float, who: str) -> None:
        self._wanted, self._who = wanted, who
        self._began = time.monotonic()
        self._said: float | None = None

    def tell(self) -> None:
        """Log a line unless the last one is younger than a minute."""
        now = time.monotonic()
        if self._said is not None and now - self._said < LOG_INTERVAL_S:
            return
        self._said = now
        there = ray.cluster_resources().get("GPU", 0)
        free = ray.available_resources().get("GPU", 0)
        log.info(
            "%s: waiting for %g GPU: %g free of %g on the nodes that are up%s; %.0f s so far",
            self._who, self._wanted, free, there, ", more may be started" if starts_nodes() else "", now - self._began,
        )  # fmt: skip


def is_placed(actor: Any) -> bool:
    """Whether Ray has given the actor a process on a node: its GPU is there, and it starts or runs."""
    return bool(_state(actor).get("Pid"))


def is_started(actor: Any) -> bool:
    """Whether the actor's constructor is through, so that it answers what it is asked."""
    return bool(_state(actor).get("State") == "ALIVE")


def _state(actor: Any) -> dict[str, Any]:
    from ray._private.state import actors  # the public way goes through the dashboard, which need not run

    known: dict[str, Any] = actors(actor._actor_id.hex()) or {}
    return known
