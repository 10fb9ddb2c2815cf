"""One direction of imports: dags -> plugins -> the light part of ray_jobs, and never back."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]
HEAVY = {
    "ray", "torch", "vllm", "pyarrow", "PIL", "transformers", "datasets", "numpy", "scipy", "safetensors",
    "sacrebleu", "rapidfuzz", "py3langid",
}  # fmt: skip
LIGHT = {
    "contract", "suite", "errors", "storage", "adapter", "checkpoint", "plan", "records", "index", "publish", "audits",
    "identity", "schema", "stored", "store_probe",
    "handshake", "names", "strict_yaml", "suite_files", "odd_items", "strict_json", "checkpoint_files",
    "lfs_pointers", "checkpoint_weights", "checkpoint_shapes", "checkpoint_layouts", "former_fingerprints",
    "module_patterns", "local_writes", "predecessor", "regular_files", "storage_errors", "data_folders",
    "fields/__init__", "fields/schema", "source_files", "label_tables", "submission_probe",
    "private_cache", "content_hashes", "same_content",
    "prompt_tokens", "checkpoint_tokens", "unused_settings",
}  # fmt: skip


def imported(file: Path) -> Iterator[str]:
    """Every module that a file imports anywhere in it, `from a import b` as both `a` and `a.b`."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def sources(*folders: str) -> list[Path]:
    return sorted(file for folder in folders for file in (REPO / folder).rglob("*.py"))


def tops(file: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(file)}


@pytest.mark.parametrize("file", sources("dags", "plugins"), ids=lambda file: str(file.relative_to(REPO)))
def test_the_control_plane_is_light(file: Path) -> None:
    assert not tops(file) & HEAVY
    used = {name.split(".")[1] for name in imported(file) if name.startswith("ray_jobs.")}
    assert used <= LIGHT


@pytest.mark.parametrize("file", sources("plugins"), ids=lambda file: str(file.relative_to(REPO)))
def test_plugins_do_not_know_the_dags(file: Path) -> None:
    assert "dags" not in tops(file)


@pytest.mark.parametrize("file", sources("ray_jobs"), ids=lambda file: str(file.relative_to(REPO)))
def test_the_data_plane_does_not_know_airflow(file: Path) -> None:
    assert not tops(file) & {"airflow", "assay_airflow", "dags"}


def light() -> list[str]:
    """The light modules, and the declarations of metrics, by which a suite is checked."""
    registry = REPO / "ray_jobs" / "metrics" / "registry.py"
    declarations = {name.split(".")[-1] for name in imported(registry) if name.startswith("ray_jobs.metrics.")}
    folder = [f"metrics/{file.stem}" for file in registry.parent.glob("*.py") if file.stem in declarations]
    return sorted([*LIGHT, "metrics/__init__", "metrics/registry", *folder])


@pytest.mark.parametrize("name", light())
def test_what_both_planes_import_is_light_itself(name: str) -> None:
    """At its top level, that is: a function may import what only the data plane calls it for."""
    tree = ast.parse((REPO / "ray_jobs" / f"{name}.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.Import):
            found = {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found = {(node.module or "").split(".")[0]}
        else:
            continue
        assert not found & (HEAVY | {"boto3", "botocore"})
