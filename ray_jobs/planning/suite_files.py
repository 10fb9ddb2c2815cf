"""Decides which files may be a suite, and which files a suite may name.

The control plane and the jobs call this. The right to start a validation is not the right to run code on Ray. A person
who starts a validation names a suite of the deployment: a file directly below ASSAY_SUITES. A suite's own metrics are
code, so they lie below the suite's folder. A job runs the code in a spec only if the job's own copy of the suites holds
the same code (`check_code`).
"""

import os
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ray_jobs.dataset.allowed_folders import find_home, list_allowed_folders, list_own_folders, refuse_system_path
from ray_jobs.inputs import strict_yaml
from ray_jobs.inputs.errors import InputError, suggest
from ray_jobs.inputs.names import find_name_fault, printable
from ray_jobs.storage import object_listing, objects, uris

if TYPE_CHECKING:
    from ray_jobs.contract.spec import Spec

SUITES = Path(__file__).parents[2] / "dags" / "suites"
CODE_BYTES = 256 * 1024
MAX_FILES = 10_000  # listed below ASSAY_SUITES
FILES_VARIABLE = "ASSAY_SUITE_FILES"


def suites_folder() -> str:
    return os.environ.get("ASSAY_SUITES") or str(SUITES)


def are_files_allowed() -> bool:
    """Whether every person who may start a validation may name a file as the suite, by ASSAY_SUITE_FILES."""
    return os.environ.get(FILES_VARIABLE) == "1"


def find_suite(name_or_file: str, by_hand: bool = False) -> str:
    """Returns the URI of a suite. Raises InputError for a wrong name, and for a file that must not be named.

    With `by_hand`, a person at a shell names the suite. That person can read and run every file there anyway, so any
    file is accepted.
    """
    if re.search(r"\.ya?ml$", name_or_file) or "/" in name_or_file:
        if by_hand or are_files_allowed():
            return name_or_file
        raise InputError(
            f"suite {printable(name_or_file)!r}: is a file, and here a suite is named; put the file below ASSAY_SUITES "
            f"and give its name without .yaml, or set {FILES_VARIABLE}=1 where Airflow runs its tasks"
        )
    folder = suites_folder()
    if fault := find_name_fault(name_or_file):
        raise InputError(
            f"suite {printable(name_or_file, 60)!r}: its name {fault}; give the name of a file in {folder} without "
            ".yaml"
        )
    uri = f"{folder.rstrip('/')}/{name_or_file}.yaml"
    if not uris.is_s3(folder):
        _require_below(Path(uris.make_absolute(uri)), Path(uris.make_absolute(folder)), f"suite {name_or_file!r}")
    return uri


def read_suite(uri: str, name_or_file: str) -> bytes:
    """Returns the bytes of a suite. Raises InputError, with the nearest existing name, if there is none."""
    try:
        return objects.read(uri, at_most=strict_yaml.MAX_BYTES)
    except FileNotFoundError:
        if uri == name_or_file:
            raise InputError(f"suite {printable(name_or_file)}: no such file; correct the path") from None
    folder = suites_folder()
    entries = islice(object_listing.iterate_entries(folder), MAX_FILES)
    known = [entry.key.removesuffix(".yaml") for entry in entries if entry.key.endswith(".yaml")]
    raise InputError(f"suite {name_or_file!r}: not in {folder}{suggest(name_or_file, known)}")


def resolve_file(
    file: str, suite_uri: str, what: Literal["metric", "synonyms", "label_names", "fields"], source: str = ""
) -> str:
    """Returns the URI of a file that a suite names. Raises InputError if the suite must not name that file.

    The file must lie below the suite's folder, after links are followed. A table of names or a schema of fields may
    also be on S3, below the folder of the local data set `source`, or below one of ASSAY_SOURCES. A metric is code, so
    it must lie with the suite.
    """
    if uris.is_s3(file) and what != "metric":
        return file
    if what != "metric" and (path := _find_beside_data(file, suite_uri, source)):
        return path
    folder = suite_uri.rpartition("/")[0] if uris.is_s3(suite_uri) else str(Path(uris.make_absolute(suite_uri)).parent)
    if uris.is_s3(folder):
        uri = file if uris.is_s3(file) else f"{folder}/{file}"
        if not uri.startswith(f"{folder}/") or {"", ".", ".."} & set(uri.removeprefix(f"{folder}/").split("/")):
            raise _outside_error(f"{what} {printable(file)}")
        return uri
    if uris.is_s3(file):
        raise _outside_error(f"{what} {printable(file)}")
    return str(_require_below(Path(folder, file.removeprefix("file://")), Path(folder), f"{what} {printable(file)}"))


def _find_beside_data(file: str, suite_uri: str, source: str) -> str | None:
    """Returns the path of a local file that lies with the data, after links are followed. None for any other file."""
    path = Path(file.removeprefix("file://"))
    if not uris.is_s3(suite_uri):
        path = Path(uris.make_absolute(suite_uri)).parent / path
    home = find_home(source)
    folders = [*(list_own_folders(str(home)) if home else []), *list_allowed_folders()]
    try:
        target = path.resolve()
        is_below = any(target != Path(folder).resolve() and target.is_relative_to(Path(folder).resolve())
                    for folder in folders)  # fmt: skip
        if not path.is_absolute() or not is_below:
            return None
        refuse_system_path(str(target), "suite")
        return str(keep_links(path))
    except (OSError, RuntimeError, ValueError):  # a loop of links, a null byte: `_require_below` reports it
        return None


def keep_links(path: Path) -> Path:
    """Returns the path without `..`. Its links stay, unless a `..` leads back over one of them.

    ConfigMaps and git-sync mount files through a link, and the folder behind the link gets a new name with every
    change. Paths enter ids, so an id must not contain that name.
    """
    direct = Path(os.path.normpath(path))
    if os.path.realpath(direct) == os.path.realpath(path):
        return direct
    return path.resolve()


def read_text(uri: str, what: str, at_most: int) -> str:
    """Returns the text of a file that a suite names. Raises InputError."""
    try:
        return objects.read(uri, at_most=at_most).decode()
    except FileNotFoundError:
        raise InputError(f"{what} {uri}: no such file; correct the suite") from None
    except UnicodeDecodeError:
        raise InputError(f"{what} {uri}: not UTF-8 text; correct the file") from None


def check_code(spec: "Spec") -> None:
    """Raise InputError if the spec contains code that is not in this deployment's suites.

    A spec is stored among the results. The right to write results is not the right to run code.
    """
    for name in spec.own_metrics:
        if not is_code_of_the_deployment(spec, name):
            raise InputError(
                f"metric {printable(name, 60)}: the spec's code is not that of a file {printable(name, 60)}.py below "
                f"{suites_folder()} here; deploy the same suites (ASSAY_SUITES) to Airflow and Ray, then plan again; "
                f"for a suite that is a file of your own set {FILES_VARIABLE}=1"
            )


def is_code_of_the_deployment(spec: "Spec", name: str) -> bool:
    """Whether a file of the metric's name below ASSAY_SUITES contains exactly the spec's code."""
    code = spec.own_metrics[name].encode("utf-8", "surrogatepass")
    if not re.fullmatch("[a-z][a-z0-9_]*", name) or len(code) > CODE_BYTES:
        return False
    return any(_has_content(uri, code) for uri in _iterate_candidates(spec, f"{name}.py"))


def _iterate_candidates(spec: "Spec", file: str) -> Iterator[str]:
    folder = suites_folder().rstrip("/")
    for entry in islice(object_listing.iterate_entries(folder), MAX_FILES):
        if entry.key.rpartition("/")[2] == file and entry.size <= CODE_BYTES:
            yield f"{folder}/{entry.key}"
    if are_files_allowed():  # then a suite may be anywhere, except among the results
        for uri in spec.suite.metrics.own:
            path = uris.local_path(uri)
            root = uris.local_path(spec.root)
            if path and path.name == file and not (root and path.resolve().is_relative_to(root.resolve())):
                yield uri


def _has_content(uri: str, code: bytes) -> bool:
    try:
        return objects.read(uri, at_most=CODE_BYTES) == code
    except (FileNotFoundError, InputError):  # deleted meanwhile, or no regular file
        return False


def _require_below(path: Path, folder: Path, what: str) -> Path:
    """Returns the path without `..`. Raises InputError if its target is not below the folder.

    Links in the path stay, for the reason that `keep_links` gives.
    """
    try:
        home = folder.resolve()
        direct = Path(os.path.normpath(path))
        target = direct.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a null byte
        raise InputError(f"{what}: not a path ({printable(str(error))}); correct the suite") from None
    if target == home or not target.is_relative_to(home):
        raise _outside_error(what)
    return direct


def _outside_error(what: str) -> InputError:
    is_table = what.startswith(("label_names ", "synonyms "))
    elsewhere = ", below the data set's folder or one of ASSAY_SOURCES" if is_table else ""
    return InputError(f"{what}: is not below the folder of the suite; put the file there{elsewhere}")
