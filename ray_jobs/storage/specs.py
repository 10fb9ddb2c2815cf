"""Specs in storage: read the one that a job is given, and list those of a run."""

import os
from collections.abc import Iterator

from ray_jobs.contract.spec import Spec
from ray_jobs.contract.stored_model import NewerSchema
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.inputs.names import printable
from ray_jobs.storage import json_files, objects

SPEC_BYTES = 64 * 2**20  # the table of synonyms in it has at most 16 MiB as a file


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
    require_own_place(spec, uri)
    return spec


def require_own_place(spec: Spec, uri: str) -> None:
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


def iterate_specs(run_uri: str) -> Iterator[Spec]:
    """The specs of a run, plain and forced, without those that this version cannot read. Raises NewerSchema."""
    for uri in list_specs(run_uri):
        if asked := _spec(uri):
            yield asked


def list_specs(run_uri: str) -> list[str]:
    """The URIs of a run's specs: of the plain request first, because forced ones only repeat it, then of those."""
    keys = [entry.key for entry in objects.entries(run_uri)]
    specs = [key for key in keys if key.startswith("spec") and key.endswith(".json") and "/" not in key]
    return [f"{run_uri}/{key}" for key in sorted(specs, key=lambda key: (key != "spec.json", key))]


def _spec(uri: str) -> Spec | None:
    """The spec; None for one of an older version, or removed since it was listed. Raises NewerSchema: what a newer
    Assay was asked about this checkpoint, and what it compared it with, this one cannot say."""
    try:
        return json_files.load(Spec, uri)
    except (RetryableError, NewerSchema):
        raise
    except Exception:
        return None
