"""One direction of imports: dags -> plugins -> ray_jobs, never back. `test_rooms` has the rooms of ray_jobs."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]
HEAVY = {
    "ray", "torch", "vllm", "pyarrow", "PIL", "transformers", "datasets", "numpy", "scipy", "safetensors",
    "sacrebleu", "rapidfuzz", "py3langid",
}  # fmt: skip


def list_imported(file: Path) -> Iterator[str]:
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
    return {name.split(".")[0] for name in list_imported(file)}


@pytest.mark.parametrize("file", sources("dags", "plugins"), ids=lambda file: str(file.relative_to(REPO)))
def test_the_control_plane_is_light(file: Path) -> None:
    assert not tops(file) & HEAVY


@pytest.mark.parametrize("file", sources("plugins"), ids=lambda file: str(file.relative_to(REPO)))
def test_plugins_do_not_know_the_dags(file: Path) -> None:
    assert "dags" not in tops(file)


@pytest.mark.parametrize("file", sources("ray_jobs"), ids=lambda file: str(file.relative_to(REPO)))
def test_the_data_plane_does_not_know_airflow(file: Path) -> None:
    assert not tops(file) & {"airflow", "assay_airflow", "dags"}
