"""Turns a request's sampling into vLLM's parameters. The actor and the audit's task call it."""

from typing import Any


def make_params(sampling: dict[str, Any], **further: Any) -> Any:
    """vLLM's SamplingParams for a request's `sampling_params`, of which `structured_outputs` are nested arguments.

    For parameters that vLLM does not take, vLLM's own error is raised.
    """
    from vllm import SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    wanted = dict(sampling)
    if structured := wanted.pop("structured_outputs", None):
        wanted["structured_outputs"] = StructuredOutputsParams(**structured)
    return SamplingParams(**wanted, **further)
