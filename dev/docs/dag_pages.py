"""Builds the page docs/reference/dags.md: the purpose of each DAG, what to do when it is red, and its params.

`dev.docs.reference` calls it. It reads the DAG files and runs none of them, because Airflow is not in this environment.
"""

import ast
import json
from collections.abc import Iterator
from pathlib import Path

DAGS = Path(__file__).parents[2] / "dags"
INTRODUCTION = """# DAGs

Airflow shows these texts on the page of each DAG, and the params in its trigger form. A program triggers a DAG over
Airflow's REST API with the same params.

`make docs` writes this page from the files in `dags/`."""


def build_page() -> str:
    """The text of docs/reference/dags.md."""
    lines = [INTRODUCTION]
    for file in sorted(DAGS.glob("*.py"), reverse=True):
        tree = ast.parse(file.read_text())
        title, _, text = (ast.get_docstring(tree) or "").partition("\n")
        lines += ["", f"## `{file.stem}`: {title.removeprefix('### ').lower()}", "", text.strip()]
        lines += ["", "| param | default | meaning |", "| --- | --- | --- |"]
        for name, default, meaning in list_params(tree):
            lines.append(f"| `{name}` | `{default}` | {meaning} |")
    return "\n".join(lines) + "\n"


def list_params(tree: ast.Module) -> Iterator[tuple[str, str, str]]:
    """Name, default in JSON and description of each param of the file's DAG."""
    keywords = (node for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == "params")
    for params in (keyword.value for keyword in keywords if isinstance(keyword.value, ast.Dict)):
        for key, call in zip(params.keys, params.values, strict=True):
            assert key is not None
            assert isinstance(call, ast.Call)
            default = json.dumps(ast.literal_eval(call.args[0]))
            meaning = next(keyword.value for keyword in call.keywords if keyword.arg == "description")
            yield ast.literal_eval(key), default, ast.literal_eval(meaning)
