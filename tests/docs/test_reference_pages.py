"""The reference pages match the code: generated pages are current, written pages name everything."""

import ast
import json
import re
import textwrap
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dev.docs import dag_pages, error_lines, message_forms, reference, stored_files, suite_keys

REPO = Path(__file__).parents[2]
DOCS = REPO / "docs" / "reference"
RELEASE = REPO / "tests" / "corpus" / "e0c6db2"  # what a release wrote
READERS = ("ray_jobs", "plugins", "dags", "dev", "demo")
VARIABLE = re.compile(r"ASSAY_[A-Z]+(?:_[A-Z]+)*")


def test_generated_pages_are_current() -> None:
    assert list(reference.find_stale_pages()) == [], "run: make docs"


# --- environment variables ------------------------------------------------------------------------------------------


def variables_in_code() -> set[str]:
    """Every string of the sources that is the name of a variable, and those that compose reads."""
    names = set()
    for file in (file for folder in READERS for file in (REPO / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and VARIABLE.fullmatch(node.value):
                names.add(node.value)
    for file in (REPO / "docker").glob("*.yaml"):
        names |= set(re.findall(r"\$\{(ASSAY_[A-Z_]+)", file.read_text()))
    return names


def list_variables_on_the_page() -> list[str]:
    """The variables of all rows, as often as the page has them."""
    rows = re.findall(r"^\| (`.*?) \|", (DOCS / "environment.md").read_text(), re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`(ASSAY_[A-Z_]+)`", row)]


def test_every_variable_that_the_code_reads_is_documented() -> None:
    assert variables_in_code() - set(list_variables_on_the_page()) == set()


def test_every_documented_variable_is_read() -> None:
    assert set(list_variables_on_the_page()) - variables_in_code() == set()


def test_every_variable_is_documented_once() -> None:
    counts = Counter(list_variables_on_the_page())
    assert len(counts) >= 20
    assert {name: count for name, count in counts.items() if count > 1} == {}


# --- suites ---------------------------------------------------------------------------------------------------------


def test_every_key_of_a_suite_has_a_meaning() -> None:
    for path, model in suite_keys.walk_sections():
        texts = suite_keys.read_field_texts(model)
        assert set(texts) >= set(model.model_fields), path
        assert all(text.endswith(".") for text in texts.values())


def test_the_keys_of_a_suite_with_bounds_choices_and_defaults() -> None:
    page = suite_keys.build_page()
    assert "| `limit` | whole number; above 0 |  |" in page
    assert "| `filter` | `fast`, `lanczos` | `fast` |" in page
    assert "| `margin` | number; at least 0 | required |" in page
    assert page.index("## `judge`") < page.index("## `judge.price`") < page.index("## `gate`")


# --- error lines ----------------------------------------------------------------------------------------------------


def forms(source: str) -> list[str]:
    """The possible texts of the last expression in a function's source."""
    tree = ast.parse(source)
    function = tree.body[-1]
    assert isinstance(function, ast.FunctionDef)
    raised = function.body[-1]
    assert isinstance(raised, ast.Raise)
    assert isinstance(raised.exc, ast.Call)
    return message_forms.Module(tree, {}).list_texts(raised.exc.args[0], function)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('def f(x):\n raise E(f"{x}: gone; plan again")', ["…: gone; plan again"]),
        ('def f(x):\n raise E("a" if x else f"b {x}")', ["a", "b …"]),
        ('def f(x):\n why = "a" if x else "b"\n raise E(f"no: {why}")', ["no: a", "no: b"]),
        ('REMEDY = "run again"\ndef f():\n raise E(f"no; {REMEDY}")', ["no; run again"]),
        ('def g(x):\n return f"over {x}"\ndef f(x):\n raise E(g(x))', ["over …"]),
        ('def f(why):\n why = f"{why}, then"\n raise E(why)', ["…, then"]),
        ('def f(x):\n why = f"{x}; "\n why += "run again"\n raise E(why)', ["…; run again"]),
        ('def f():\n count = 0\n raise E(f"{count} rows")', ["… rows"]),
    ],
    ids=["placeholder", "choice", "variable", "constant", "function", "itself", "appended", "number"],
)
def test_the_forms_of_a_message(source: str, expected: list[str]) -> None:
    assert forms(source) == expected


def test_error_lines_with_their_remedies() -> None:
    lines = {line.text: line for line in error_lines.collect_error_lines() | error_lines.collect_suite_lines()}
    line = lines["dataset …: it has no rows; check the URI and the split"]
    assert (line.remedy, line.is_retried, line.section) == ("check the URI and the split", False, "A data set")
    assert lines["…: it was replaced while it was read; try again"].is_retried
    assert "suite …: `stratify` needs `label` and `limit`" in lines
    assert len(lines) > 400
    rejects = {line.text: line for line in error_lines.collect_reject_lines()}
    assert rejects["…: … images in one row; give each image a row"].section == error_lines.REJECT
    assert "…x…, a side under …" in rejects


# --- stored files ---------------------------------------------------------------------------------------------------


def test_every_key_of_a_stored_file_has_a_meaning() -> None:
    for model in stored_files.MODELS:
        names = set(getattr(model, "model_fields", None) or getattr(model, "__dataclass_fields__", {}))
        assert names
        assert names - set(suite_keys.read_field_texts(model)) <= {"schema_version"}, model.__name__


def find_documented(path: str) -> list[stored_files.StoredFile]:
    """The rows of the page that match a path below a root."""
    return [
        file for file in stored_files.FILES if re.fullmatch(re.sub(r"\\\{.*?\\\}", "[^/]+", re.escape(file.path)), path)
    ]


def test_every_file_that_a_release_wrote_is_documented_with_its_keys_and_columns() -> None:
    files = [file for file in RELEASE.rglob("*") if file.is_file()]
    assert len(files) > 100
    models = {model.__name__: model for model in stored_files.MODELS}
    for file in files:
        path = file.relative_to(RELEASE).as_posix()
        rows = find_documented(path)
        assert rows, path
        schema = rows[0].schema
        if file.suffix == ".json" and schema:
            assert set(json.loads(file.read_bytes())) <= set(stored_files.list_keys(models[schema])), path
        elif file.suffix == ".parquet":
            columns = set(pq.read_schema(file).names)
            known = set(stored_files.SCHEMAS[schema].names)
            assert (
                columns - known == set() if schema != "Scores part" else known - columns == {"(one column per metric)"}
            )


# --- DAGs -----------------------------------------------------------------------------------------------------------


def test_the_params_of_a_dag_are_read_from_its_file() -> None:
    source = """
    @dag(params={
        "count": Param(0, type="number", description="How many " "of them."),
        "suite": Param(None, description="Which."),
        "force": Param(False, description="Again."),
    })
    def a(): ...
    """
    rows = [("count", "0", "How many of them."), ("suite", "null", "Which."), ("force", "false", "Again.")]
    assert list(dag_pages.list_params(ast.parse(textwrap.dedent(source)))) == rows
