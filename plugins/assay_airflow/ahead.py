"""Whether the next checkpoint may be captioned while this one is evaluated.

Not where its captions could keep a GPU from this one's evaluation, whose verdict would come later for it; and not where
an engine is started for each job, for only a warm one makes jobs wait for each other.
"""

from ray_jobs.checkpoints.inspect import quantisation
from ray_jobs.contract.spec import Spec
from ray_jobs.contract.suite import Engine, Suite


def refusal(suite: Suite) -> str | None:
    """Why not with such a suite, None when the suite is no hindrance."""
    if not _is_warm(suite.engine):
        return "its captions have no warm engine"
    if suite.metrics.clip:
        return "CLIP takes a GPU of its own"
    if suite.judge.kind == "vllm" and not _fits_beside(suite.engine, suite.judge.engine):
        return "the judge's engine does not fit on a GPU beside the captions'"
    return None


def quantised(spec: Spec) -> str | None:
    """Why not with such checkpoints, of model or judge: those that are stored quantised have no warm engine."""
    for one in (spec.checkpoint, spec.judge):
        if one and (method := quantisation((one.base or one).uri)):
            return f"{one.uri} is quantised ({method}) and has no warm engine"
    return None


def _is_warm(engine: Engine) -> bool:
    return engine.kind == "warm" and not engine.quantization


def _fits_beside(captions: Engine, judge: Engine) -> bool:
    """Whether all the captions' engines and one of the judge's share a GPU."""
    return _is_warm(judge) and captions.gpus * captions.replicas + judge.gpus <= 1
