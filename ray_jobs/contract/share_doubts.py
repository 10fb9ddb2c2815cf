"""Finds shares of a GPU with which the captions' engine and the judge's do not fit on one GPU together.

`plan` logs the line, and `suite_check` shows it. Neither knows the cluster, so the line says for which it holds.
"""

from ray_jobs.contract.sections.engine import MAX_SHARED
from ray_jobs.contract.suite import Suite


def find_share_doubts(suite: Suite) -> list[str]:
    """Returns a line if the suite's own shares do not fit on one GPU. A share that it leaves out is chosen to fit."""
    engines = {"engine": suite.engine, "judge.engine": suite.judge.engine}
    shares = {name: share for name, engine in engines.items() if (share := engine.gpu_memory_utilization)}
    if suite.judge.kind != "vllm" or not shares:
        return []
    if len(shares) < len(engines):
        fits = all(share <= MAX_SHARED for share in shares.values())
    else:
        fits = suite.engine.gpus * suite.engine.replicas + suite.judge.engine.gpus <= 1
    if fits:
        return []
    settings = " and ".join(f"{name}.gpu_memory_utilization {share:g}" for name, share in shares.items())
    return [
        f"{settings}: on a cluster with one GPU, captions and judge do not fit on it together, so each checkpoint ends "
        f"one engine to start the other; leave them out and Assay chooses, or set both to at most {MAX_SHARED:g}, and "
        "together to at most 0.9"
    ]
