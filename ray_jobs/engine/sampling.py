"""A request's sampling as vLLM's own parameters, the same for every engine."""

from typing import Any


def make_params(sampling: dict[str, Any], **further: Any) -> Any:
    """SamplingParams of a request's `sampling_params`, whose `structured_outputs` are arguments too.

    Raises what vLLM raises for parameters that it does not take.
    """
    from vllm import SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    wanted = dict(sampling)
    if structured := wanted.pop("structured_outputs", None):
        wanted["structured_outputs"] = StructuredOutputsParams(**structured)
    return SamplingParams(**wanted, **further)
