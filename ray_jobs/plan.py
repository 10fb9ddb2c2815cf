"""Resolve a request into a spec: what is the checkpoint, what are the images, what is the baseline, where does it go.

    python -m ray_jobs.plan --suite demo --checkpoint demo/checkpoints/step-0800

prints the URI of the spec, which every job takes: `python -m ray_jobs.preprocess --spec URI`. The Airflow DAG calls
`plan` the same way. Planning twice gives the same spec, so that everything done is found again.
"""

import hashlib
import json
import logging
import os
import posixpath
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ray_jobs.checkpoints import inspect
from ray_jobs.checkpoints.former_fingerprints import keep_former
from ray_jobs.checkpoints.special_tokens import check_prompts
from ray_jobs.contract.field_schema import SCHEMA_BYTES, NotSupported, read_schema
from ray_jobs.contract.ids import digest, name_of
from ray_jobs.contract.spec import Checkpoint, Spec
from ray_jobs.contract.stored_model import NewerSchema
from ray_jobs.contract.suite import Dataset, Engine, Judge, Suite, parse_suite, with_fields
from ray_jobs.contract.unused_settings import find_doubts
from ray_jobs.dataset import image_formats
from ray_jobs.dataset.label_tables import parse_label_table
from ray_jobs.dataset.same_content import find_same, find_with_links_followed
from ray_jobs.dataset.source_files import (
    FIRST_MANIFESTS,
    MANIFESTS,
    OF_FORMAT,
    TABLES,
    Selection,
    image_folders,
    is_hashed,
)
from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.names import printable
from ray_jobs.planning import predecessor
from ray_jobs.planning.suite_files import (
    CODE_BYTES,
    TABLE_BYTES,
    beside,
    find_suite,
    keep_links,
    read_suite,
    read_text,
    refuse_system_path,
)
from ray_jobs.storage import json_files, objects, records
from ray_jobs.storage.store_probe import require_conditional_create

log = logging.getLogger("assay")

SPEC_BYTES = 64 * 2**20  # the table of synonyms in it has at most 16 MiB as a file
MOST_FILES = 200_000  # that a pattern may name: each is looked for by itself
PREVIEW = re.compile(r"(^|/)golden/[0-9a-f]{16}/preview\.png$")  # where the root lies beside the manifest
SPAN = re.compile(r"(-?\d{1,18}|[A-Za-z])\.\.(-?\d{1,18}|[A-Za-z])(?:\.\.(-?\d{1,18}))?", re.ASCII)
SAVED = ("dataset_dict.json", "dataset_info.json")  # in a folder that `datasets` saved
FILES = (*MANIFESTS, ".tar", ".tar.gz", ".tgz", ".parquet", ".arrow", ".feather", ".zip")


def plan(
    root: str,
    suite_name: str,
    checkpoint_uri: str,
    baseline: str | None = None,
    force: str | None = None,
    following: str | None = None,
    by_hand: bool = False,
) -> Spec:
    """Resolve the request and write `spec.json` into the run's folder.

    `baseline` overrides the suite's; `force` names a request whose captions are to be made anew; `following` is the URI
    of the checkpoint that will be validated next. A suite is named; `by_hand`, by a person at a shell, it may be a file
    too. Raises InputError, NewerSchema where a newer Assay planned this run, and `checkpoint.Incomplete` for a
    checkpoint that is not whole.
    """
    suite = load_suite(suite_name, by_hand)
    asked = baseline or suite.gate.baseline  # kept in the spec: asked for in the same words, a run is the same run
    suite = suite.model_copy(update={"gate": suite.gate.model_copy(update={"baseline": asked})})
    spec = Spec(
        root=objects.absolute(root),
        suite=suite,
        checkpoint=keep_former(root, inspect.resolve(checkpoint_uri, suite.engine.base_model)),
        judge=_judge(suite.judge),
        clip=inspect.resolve(suite.metrics.clip) if suite.metrics.clip else None,
        own_metrics=read_metrics(suite.metrics.own),
        synonyms=load_synonyms(suite.metrics.synonyms) if suite.metrics.synonyms else {},
        source_revision=source_revision(suite.dataset),
        force=force,
        following=objects.absolute(following) if following else None,
    )
    spec = find_with_links_followed(find_same(spec, source_revision))
    check_prompts(suite, spec.checkpoint, spec.judge)
    for doubt in find_doubts(suite):
        log.warning("suite %s: %s", suite.name, doubt)
    spec = spec.model_copy(update={"baseline": records.baseline_for(spec, asked)})
    spec = spec.model_copy(update={"anchor": records.anchor_for(spec, suite.gate.anchor)})
    spec = spec.model_copy(update={"predecessor": predecessor.find_predecessor(spec, asked)})
    require_conditional_create(spec.root)
    json_files.replace(spec.uri, spec)
    return spec


def _judge(judge: Judge) -> Checkpoint | None:
    if judge.kind != "vllm" or not judge.model:
        return None
    return inspect.resolve(judge.model, judge.engine.base_model)


def read_metrics(files: Sequence[str]) -> dict[str, str]:
    """The source code of a suite's own metrics by name. Raises InputError for a file that is not there or too long."""
    return {name_of(file).removesuffix(".py"): read_text(file, "metric", CODE_BYTES) for file in files}


def load_synonyms(uri: str) -> dict[str, tuple[str, ...]]:
    """Further names by label. Raises InputError for a file that is none of them."""
    try:
        return TypeAdapter(dict[str, tuple[str, ...]]).validate_json(read_text(uri, "synonyms", TABLE_BYTES))
    except ValidationError:
        raise InputError(f"synonyms {uri}: not a JSON object of lists of names by label; correct the file") from None


def _schema_of_fields(uri: str) -> dict[str, Any]:
    """The complete schema in a file of `caption.fields`."""
    try:
        return read_schema(read_text(uri, "fields", SCHEMA_BYTES).encode())
    except NotSupported as error:
        raise InputError(f"fields {uri}: {printable(str(error), 500)}") from None


def load_spec(uri: str) -> Spec:
    """The spec at a URI. Raises InputError when it is not there, not a spec, or a spec of another place."""
    name = printable(uri, 500)
    try:
        spec = json_files.load(Spec, uri, SPEC_BYTES)
    except FileNotFoundError:
        raise InputError(f"spec {name}: nothing is there; make it with python -m ray_jobs.plan") from None
    except NewerSchema as newer:
        raise NewerSchema(f"spec {newer}") from None
    except ValueError as error:
        raise InputError(
            f"spec {name}: not a spec of this version ({error.__class__.__name__}); plan it again"
        ) from None
    check_place(spec, uri)
    return spec


def check_place(spec: Spec, uri: str) -> None:
    """Raise InputError for a spec whose ids do not fit the folder it lies in: it was changed, or made by another
    version.

    A job writes where the ids say, so a changed spec could pass off its results as another run's. One directory may be
    named in several ways, so the roots are compared with their links followed; what is below a root has one name.
    """
    place = objects.absolute(uri)
    if place == spec.uri:
        return
    below = spec.uri.removeprefix(spec.root)
    if place.endswith(below) and _is_one_directory(place.removesuffix(below), spec.root):
        return
    where, home = printable(uri, 500), printable(spec.run_uri, 500)
    raise InputError(f"spec {where}: what it says belongs to {home}, not here; plan it again with this version")


def _is_one_directory(root: str, other: str) -> bool:
    if objects.is_s3(root) or objects.is_s3(other):
        return False
    return os.path.realpath(objects.absolute(root)) == os.path.realpath(objects.absolute(other))


def load_suite(name_or_file: str, by_hand: bool = False) -> Suite:
    """A suite by name (`dags/suites/{name}.yaml`, or below ASSAY_SUITES), paths made absolute.

    Relative paths in a suite are relative to its file. A file may be named where the deployment says so, and `by_hand`.
    Raises InputError, also where a suite that is named calls itself otherwise: what it is asked for by is then not the
    name that its records are kept under, and two files could share their records.
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
            suite, _schema_of_fields(beside(suite.caption.fields, uri, "fields", suite.dataset.source)), name_or_file
        )
    return _beside(suite, uri)


def source_revision(dataset: Dataset, version_of: Callable[[objects.Entry], str] = attrgetter("version")) -> str:
    """What tells this source's content from another: its own `revision`, or a hash over names, sizes and versions.

    The version of a file is its ETag on S3 and its modification time in a directory, unless `version_of` tells another.
    The file of `label_names` is hashed with the rest. Raises InputError when nothing is there, when a dataset named on
    a hub is not pinned, and when the files are of several splits and the suite names none.
    """
    names = objects.entry(dataset.label_names) if dataset.label_names else None
    told: list[object] = ["label_names", names.size, names.version] if names else []
    if dataset.label_names and names and _is_new_label_table(dataset.label_names):
        told.append("with ids")  # earlier versions numbered its lines, so what they made is of other labels
    if dataset.split and not is_hub_name(dataset) and not _is_saved(dataset):
        told += ["split"]  # earlier versions read all splits here, so what they made is of another content
    if dataset.source.startswith(("~", "$")):
        raise InputError(f"dataset {dataset.source}: ~ and $ are not replaced in a suite; write the whole path")
    if is_hub_name(dataset) and not re.fullmatch("[0-9a-f]{40}", dataset.revision or ""):
        raise InputError(
            f"dataset {dataset.source}: no such directory; if it is a dataset on the Hugging Face hub, pin its "
            "`revision` (a commit hash), or the golden set could change unnoticed"
        )
    if dataset.revision:
        return digest(dataset.revision, told) if told else dataset.revision
    found, revision = False, hashlib.sha256()
    for entry in _files(dataset):
        found = True
        revision.update(f"{json.dumps([entry.key, entry.size, version_of(entry)])}\n".encode())
    if not found:
        remedy = "patterns with * are not read, name the folder" if "*" in dataset.source else "check the URI"
        raise InputError(f"dataset {dataset.source}: nothing is there; {remedy}")
    if told:
        revision.update(json.dumps(told).encode())
    return revision.hexdigest()[:16]


def is_hub_name(dataset: Dataset) -> bool:
    """Whether the source is to be loaded by name rather than from storage."""
    local = objects.local_path(dataset.source)
    if local is None or dataset.format not in ("auto", "huggingface") or local.is_absolute() or local.exists():
        return False
    names_files = "{" in dataset.source or dataset.source.lower().endswith(FILES)
    return dataset.format == "huggingface" or not names_files


def expanded(source: str) -> list[str]:
    """The files that a source like `s3://b/train-{000..099}.tar` names; the source alone when it is no such pattern."""
    local = objects.local_path(source)
    if "{" not in source or (local is not None and local.exists()):
        return [source]
    from braceexpand import braceexpand

    if (count := named_by(source)) > MOST_FILES:
        raise InputError(
            f"dataset {source[:200]}: its braces name {count:.3g} files, over {MOST_FILES}; name the folder"
        )
    try:
        return list(braceexpand(source, escape=False))
    except (ValueError, RecursionError):
        raise InputError(
            f"dataset {source[:200]}: its braces do not match; write a pattern like train-{{000..099}}.tar"
        ) from None


def named_by(pattern: str, depth: int = 0) -> int:
    """How many files a pattern of braces names, counted without naming them; more than MOST_FILES is not exact."""
    if depth > 20:
        return MOST_FILES + 1
    count, at = 1, 0
    while (start := pattern.find("{", at)) >= 0:
        level, cuts, end = 0, [start], -1
        for index in range(start, len(pattern)):
            level += {"{": 1, "}": -1}.get(pattern[index], 0)
            if level == 0:
                end = index
                break
            if level == 1 and pattern[index] == ",":
                cuts.append(index)
        if end < 0:  # its braces do not match
            return count
        pieces = [pattern[low + 1 : high] for low, high in pairwise([*cuts, end])]
        if len(pieces) == 1 and (span := SPAN.fullmatch(pieces[0])):
            first, last = ((int(one) if one.lstrip("-").isdecimal() else ord(one)) for one in span.group(1, 2))
            count *= abs(last - first) // max(abs(int(span[3] or 1)), 1) + 1
        else:
            count *= sum(named_by(piece, depth + 1) for piece in pieces)
        if count > MOST_FILES:
            return count
        at = end + 1
    return count


def _files(dataset: Dataset) -> Iterator[objects.Entry]:
    """The files of a source: all below it, or the one it is, or those its pattern names."""
    pattern = expanded(dataset.source)
    if pattern != [dataset.source]:
        for uri in pattern:
            if not (entry := objects.entry(uri)):
                raise InputError(f"dataset {dataset.source}: {uri} is not there; correct the pattern or add the file")
            yield objects.Entry(uri, entry.size, entry.version)
        return
    suffixes = OF_FORMAT.get(dataset.format, (*image_formats.SUFFIXES, *TABLES))
    selection, is_empty, is_saved = Selection(dataset.source, dataset.split, suffixes), True, _is_saved(dataset)
    for entry in objects.entries(dataset.source):
        is_empty = False
        selection.takes(entry.key)
        if is_hashed(entry.key):
            yield entry
    if not is_saved:
        selection.check()
    if is_empty and (single := objects.entry(dataset.source)):
        yield single
        yield from _described_images(dataset)


def image_folder(dataset: Dataset) -> str:
    """The folder that the names in a manifest are relative to: the suite's `images`, or where such files lie."""
    if dataset.images is None:
        if dataset.source.lower().endswith(FIRST_MANIFESTS):
            return dataset.source.rpartition("/")[0] or "."
        places = image_folders(dataset.source)
        return next((place for place in places[:-1] if next(objects.entries(place), None)), places[-1])
    folder = dataset.images.rstrip("/") or "/"
    if "://" not in folder and not folder.startswith("/"):
        scheme, sign, path = (dataset.source.rpartition("/")[0] or ".").rpartition("://")
        folder = scheme + sign + posixpath.normpath(f"{path}/{folder}")
    refuse_system_path(folder, "images")
    return folder


def _described_images(dataset: Dataset) -> Iterator[objects.Entry]:
    """The images that a manifest describes, by what lies in their folder: they decide the content as the manifest does.

    Of a manifest of the first release it is the file alone, so that no id moves: the suite says more with `images`.
    """
    name = dataset.source.lower()
    if not name.endswith(MANIFESTS) or (dataset.images is None and name.endswith(FIRST_MANIFESTS)):
        return
    for entry in objects.entries(image_folder(dataset)):
        if entry.key.lower().endswith(image_formats.SUFFIXES) and not PREVIEW.search(entry.key):
            yield entry


def _is_new_label_table(uri: str) -> bool:
    refuse_system_path(uri, "label_names")
    try:
        text = objects.read(uri, at_most=TABLE_BYTES).decode("utf-8-sig")
    except (FileNotFoundError, UnicodeDecodeError):
        return False  # told in one line when the labels are read
    return parse_label_table(uri, text).is_new_form


def _is_saved(dataset: Dataset) -> bool:
    """Whether the source is a data set that `datasets` saved to disk: its own files say what its splits are."""
    if dataset.format not in ("auto", "huggingface"):
        return False
    return dataset.format == "huggingface" or any(objects.exists(f"{dataset.source}/{name}") for name in SAVED)


def _beside(suite: Suite, uri: str) -> Suite:
    """The suite with its relative local paths resolved against the suite's own folder, and no slash at their ends."""
    folder = None if objects.is_s3(uri) else Path(objects.absolute(uri)).parent

    def resolved(source: str) -> str:
        source = _joined(source.rstrip("/") or "/")
        refuse_system_path(source, "suite")
        return source

    def _joined(source: str) -> str:
        path = objects.local_path(source)
        if folder is None or path is None or path.is_absolute():
            return source
        if (folder / path).exists():
            return str(keep_links(folder / path))
        if "{" in source and (folder / expanded(str(path))[0]).exists():
            return str(keep_links(folder) / path)
        return source

    dataset = suite.dataset.model_copy(update={"source": resolved(suite.dataset.source)})
    if dataset.label_names:
        dataset = dataset.model_copy(
            update={"label_names": beside(dataset.label_names, uri, "label_names", dataset.source)}
        )

    def with_base(engine: Engine) -> Engine:
        return engine.model_copy(update={"base_model": resolved(engine.base_model)}) if engine.base_model else engine

    judge, metrics = suite.judge.model_copy(update={"engine": with_base(suite.judge.engine)}), suite.metrics
    if judge.kind == "vllm" and judge.model:
        judge = judge.model_copy(update={"model": resolved(judge.model)})
    files: dict[str, object] = {"own": tuple(beside(file, uri, "metric") for file in metrics.own)}
    if metrics.synonyms:
        files["synonyms"] = beside(metrics.synonyms, uri, "synonyms", dataset.source)
    if metrics.clip:
        files["clip"] = resolved(metrics.clip)
    metrics = metrics.model_copy(update=files)
    return suite.model_copy(
        update={"dataset": dataset, "engine": with_base(suite.engine), "judge": judge, "metrics": metrics}
    )


def main(suite_name: str, checkpoint_uri: str, root: str, baseline: str | None = None, as_json: bool = False) -> int:
    """Plan the request of a person at a shell and print the URI of its spec; 0. Raises what `plan` raises."""
    spec = plan(root, suite_name, checkpoint_uri, baseline, by_hand=True)
    if as_json:
        ids = ("run_id", "golden_id", "caption_id", "series_id", "run_uri")
        print(json.dumps({"spec_uri": spec.uri, **{name: getattr(spec, name) for name in ids}}, indent=1))
    else:
        print(spec.uri)
    return 0


if __name__ == "__main__":
    from ray_jobs.command_line.programs import run_program

    sys.exit(run_program("plan"))
