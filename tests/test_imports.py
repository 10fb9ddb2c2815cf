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
    "checkpoints/__init__",
    "checkpoints/files",
    "checkpoints/former_fingerprints",
    "checkpoints/inspect",
    "checkpoints/layouts",
    "checkpoints/lora_config",
    "checkpoints/module_patterns",
    "checkpoints/shapes",
    "checkpoints/special_tokens",
    "checkpoints/weights",
    "contract/__init__",
    "contract/artifacts",
    "contract/field_schema",
    "contract/identity",
    "contract/ids",
    "contract/prompt_tokens",
    "contract/spec",
    "contract/stored_model",
    "contract/suite",
    "contract/unused_settings",
    "dataset/__init__",
    "dataset/allowed_folders",
    "dataset/brace_patterns",
    "dataset/label_tables",
    "dataset/revision",
    "dataset/same_content",
    "dataset/source_files",
    "fields/__init__",
    "inputs/__init__",
    "inputs/errors",
    "inputs/lfs_pointers",
    "inputs/names",
    "inputs/regular_files",
    "inputs/strict_json",
    "inputs/strict_yaml",
    "job/__init__",
    "job/handshake",
    "job/submission_probe",
    "plan",
    "planning/__init__",
    "planning/predecessor",
    "planning/suite_files",
    "planning/suites",
    "publish",
    "runtime/__init__",
    "runtime/private_cache",
    "storage/__init__",
    "storage/audits",
    "storage/content_hashes",
    "storage/error_lines",
    "storage/index",
    "storage/json_files",
    "storage/local_writes",
    "storage/objects",
    "storage/odd_items",
    "storage/records",
    "storage/specs",
    "storage/store_probe",
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
    used = {name.removeprefix("ray_jobs.").replace(".", "/") for name in imported(file) if name.startswith("ray_jobs.")}
    modules = {name for name in used if (REPO / "ray_jobs" / f"{name}.py").exists()}
    assert modules <= LIGHT


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
