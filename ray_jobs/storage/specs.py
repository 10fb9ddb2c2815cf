"""Reads the spec that a job is given, and lists the specs of a run.

The frame of every job, the programs and the control plane call it. A job never works on a spec whose ids do not match
its place.
"""

import os
from collections.abc import Iterator

from ray_jobs.contract.spec import Spec
from ray_jobs.contract.stored_model import NewerSchema
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.inputs.names import printable
from ray_jobs.storage import json_files, object_listing, uris

SPEC_BYTES = 64 * 2**20  # the file of the synonyms that it contains has at most 16 MiB


def load_spec(uri: str) -> Spec:
    """Returns the spec at a URI. Raises InputError if it is missing, is no spec, or belongs to another place, and
    NewerSchema."""
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
    """Raises InputError for a spec whose ids do not match its folder: it was changed, or another version made it.

    A job writes where the ids say, so a changed spec could pass off its results as another run's. One directory may
    have several names, so the roots are compared with their links followed. Below a root, every file has one name.
    """
    place = uris.make_absolute(uri)
    if place == spec.uri:
        return
    path_below_root = spec.uri.removeprefix(spec.root)
    if place.endswith(path_below_root) and _is_one_directory(place.removesuffix(path_below_root), spec.root):
        return
    where, home = printable(uri, 500), printable(spec.run_uri, 500)
    raise InputError(f"spec {where}: what it says belongs to {home}, not here; plan it again with this version")


def _is_one_directory(root: str, other: str) -> bool:
    if uris.is_s3(root) or uris.is_s3(other):
        return False
    return os.path.realpath(uris.make_absolute(root)) == os.path.realpath(uris.make_absolute(other))


def iterate_specs(run_uri: str) -> Iterator[Spec]:
    """Yields the specs of a run, plain and forced, without those that this version cannot read. Raises NewerSchema."""
    for uri in list_specs(run_uri):
        if spec := _load_readable_spec(uri):
            yield spec


def list_specs(run_uri: str) -> list[str]:
    """Returns the URIs of a run's specs: the plain request's first, because forced requests only repeat it."""
    keys = [entry.key for entry in object_listing.iterate_entries(run_uri)]
    specs = [key for key in keys if key.startswith("spec") and key.endswith(".json") and "/" not in key]
    return [f"{run_uri}/{key}" for key in sorted(specs, key=lambda key: (key != "spec.json", key))]


def _load_readable_spec(uri: str) -> Spec | None:
    """Returns the spec; None if an older version wrote it, or if it was removed since the listing.

    Raises NewerSchema, because this version cannot know the request or the baseline in a newer Assay's spec.
    """
    try:
        return json_files.load(Spec, uri)
    except (RetryableError, NewerSchema):
        raise
    except Exception:
        return None
