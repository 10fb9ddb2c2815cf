"""Load a suite and the files that it names, and make its paths absolute.

`plan`, `assay suite check` and the control plane's tasks call this.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ray_jobs.contract.field_schema import SCHEMA_BYTES, SchemaError, read_schema
from ray_jobs.contract.ids import name_of
from ray_jobs.contract.parse_suite import parse_suite, with_fields
from ray_jobs.contract.sections.engine import Engine
from ray_jobs.contract.suite import Suite
from ray_jobs.dataset.allowed_folders import refuse_system_path
from ray_jobs.dataset.brace_patterns import expand_pattern
from ray_jobs.dataset.label_tables import TABLE_BYTES
from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.names import printable
from ray_jobs.planning.suite_files import CODE_BYTES, find_suite, keep_links, read_suite, read_text, resolve_file
from ray_jobs.storage import uris


def read_custom_metrics(files: Sequence[str]) -> dict[str, str]:
    """Returns the source code of a suite's own metrics, by name. Raises InputError if a file is missing or too long."""
    return {name_of(file).removesuffix(".py"): read_text(file, "metric", CODE_BYTES) for file in files}


def load_synonyms(uri: str) -> dict[str, tuple[str, ...]]:
    """Returns further names of each label from a JSON file. Raises InputError if the file has another content."""
    try:
        return TypeAdapter(dict[str, tuple[str, ...]]).validate_json(read_text(uri, "synonyms", TABLE_BYTES))
    except ValidationError:
        raise InputError(f"synonyms {uri}: not a JSON object of lists of names by label; correct the file") from None


def _load_schema(uri: str) -> dict[str, Any]:
    """Returns the complete schema from the file that `caption.fields` names. Raises InputError."""
    try:
        return read_schema(read_text(uri, "fields", SCHEMA_BYTES).encode())
    except SchemaError as error:
        raise InputError(f"fields {uri}: {printable(str(error), 500)}") from None


def load_suite(name_or_file: str, by_hand: bool = False) -> Suite:
    """Returns a suite by name (`dags/suites/{name}.yaml`, or below ASSAY_SUITES), with absolute paths.

    Relative paths in a suite are relative to its file. A file may be given if the deployment allows it, or `by_hand`.
    Raises InputError, also when the suite's own name differs from the requested name: its records are kept under its
    own name, so two files could share their records.
    """
    uri = find_suite(name_or_file, by_hand)
    suite = parse_suite(read_suite(uri, name_or_file), name_or_file)
    if uri != name_or_file and suite.name != name_or_file:
        raise InputError(
            f"suite {name_or_file}: its file is {name_or_file}.yaml, its `name` is {suite.name!r}; name the file "
            f"{suite.name}.yaml (its records are kept under that name), or correct `name`"
        )
    if isinstance(suite.caption.fields, str):
        suite = with_fields(
            suite,
            _load_schema(resolve_file(suite.caption.fields, uri, "fields", suite.dataset.source)),
            name_or_file,
        )
    return _resolve_paths(suite, uri)


def _resolve_paths(suite: Suite, uri: str) -> Suite:
    """Returns the suite with its local paths made absolute, relative to its folder, and without slashes at the end."""
    folder = None if uris.is_s3(uri) else Path(uris.make_absolute(uri)).parent

    def resolve(source: str) -> str:
        source = join_folder(source.rstrip("/") or "/")
        refuse_system_path(source, "suite")
        return source

    def join_folder(source: str) -> str:
        path = uris.local_path(source)
        if folder is None or path is None or path.is_absolute():
            return source
        if (folder / path).exists():
            return str(keep_links(folder / path))
        if "{" in source and (folder / expand_pattern(str(path))[0]).exists():
            return str(keep_links(folder) / path)
        return source

    dataset = suite.dataset.model_copy(update={"source": resolve(suite.dataset.source)})
    if dataset.label_names:
        dataset = dataset.model_copy(
            update={"label_names": resolve_file(dataset.label_names, uri, "label_names", dataset.source)}
        )

    def resolve_base_model(engine: Engine) -> Engine:
        return engine.model_copy(update={"base_model": resolve(engine.base_model)}) if engine.base_model else engine

    judge, metrics = suite.judge.model_copy(update={"engine": resolve_base_model(suite.judge.engine)}), suite.metrics
    if judge.kind == "vllm" and judge.model:
        judge = judge.model_copy(update={"model": resolve(judge.model)})
    files: dict[str, object] = {"own": tuple(resolve_file(file, uri, "metric") for file in metrics.own)}
    if metrics.synonyms:
        files["synonyms"] = resolve_file(metrics.synonyms, uri, "synonyms", dataset.source)
    if metrics.clip:
        files["clip"] = resolve(metrics.clip)
    metrics = metrics.model_copy(update=files)
    return suite.model_copy(
        update={"dataset": dataset, "engine": resolve_base_model(suite.engine), "judge": judge, "metrics": metrics}
    )
