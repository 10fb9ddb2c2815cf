"""Decide whether the next checkpoint may be captioned while this one is evaluated.

The task `plan_following` calls this. It may not if its captions could take a GPU that this evaluation needs, because
the verdict would come later. It may not without a warm engine either: only a warm engine makes jobs queue for a GPU.
"""

from ray_jobs.checkpoints.quantization import quantization_method
from ray_jobs.contract.sections.engine import Engine
from ray_jobs.contract.spec import Spec
from ray_jobs.contract.suite import Suite


def find_suite_obstacle(suite: Suite) -> str | None:
    """Why a run of this suite does not caption ahead. None if the suite allows it."""
    if not _is_warm(suite.engine):
        return "its captions have no warm engine"
    if suite.metrics.clip:
        return "CLIP takes a GPU of its own"
    if suite.judge.kind == "vllm" and not _fits_beside(suite.engine, suite.judge.engine):
        return "the judge's engine does not fit on a GPU beside the captions'"
    return None


def find_checkpoint_obstacle(spec: Spec) -> str | None:
    """Why the model or the judge of this spec prevents captioning ahead. None if neither does.

    A checkpoint that is stored quantised has no warm engine.
    """
    for checkpoint in (spec.checkpoint, spec.judge):
        if checkpoint and (method := quantization_method((checkpoint.base or checkpoint).uri)):
            return f"{checkpoint.uri} is quantised ({method}) and has no warm engine"
    return None


def _is_warm(engine: Engine) -> bool:
    return engine.kind == "warm" and not engine.quantization


def _fits_beside(captions: Engine, judge: Engine) -> bool:
    """Whether one GPU has room for all caption engines and one judge engine."""
    return _is_warm(judge) and captions.gpus * captions.replicas + judge.gpus <= 1
