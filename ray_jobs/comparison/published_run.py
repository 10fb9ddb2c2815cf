"""Load a published run with its spec, record and scores, for a comparison. Needs no Ray and no GPU.

The program `compare` and `ray_jobs.api` call this module.
"""

import re
from dataclasses import dataclass

from ray_jobs.contract.artifacts import Record, Scores
from ray_jobs.contract.spec import Spec
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.inputs.names import printable
from ray_jobs.storage import json_files, records, specs, uris
from ray_jobs.storage.odd_items import describe


@dataclass(frozen=True)
class PublishedRun:
    """A run as it is stored. The root in `spec` is where the run lies now, also if the store was moved."""

    uri: str
    spec: Spec
    record: Record
    scores: Scores

    @property
    def scores_uri(self) -> str:
        """The folder of the scores that the record's verdict was made from."""
        return f"{self.spec.root}/scores/{self.scores.manifest.id}"


def load_run(uri: str) -> PublishedRun:
    """The run at the URI of its folder or of its record.json. Raises InputError when the run is missing or damaged."""
    uri = uris.make_absolute(uri.removesuffix("/record.json"))
    try:
        return _load(uri)
    except (InputError, RetryableError):
        raise
    except Exception as error:  # the files may hold anything
        raise InputError(f"run {printable(uri)}: not a run ({describe(error)}); validate it again") from None


def _load(uri: str) -> PublishedRun:
    try:
        record = records.read(uri)
        spec = json_files.load(Spec, next(iter(specs.list_specs(uri)), f"{uri}/spec.json"))
        scores = json_files.load(Scores, f"{records.results_uri(uri, record.verdict)}/scores.json")
    except FileNotFoundError as error:
        absent = str(error.filename or uri).removeprefix(f"{uri}/")
        raise InputError(f"run {uri}: no {absent} there; name a published run's folder or its record.json") from None
    except ValueError as error:
        fault = error.__class__.__name__
        raise InputError(f"run {uri}: not a run of this version ({fault}); validate it again") from None
    if not re.fullmatch("[0-9A-Za-z_-]+", scores.manifest.id) or record.run_id != scores.run_id:
        raise InputError(f"run {uri}: its scores are of another run; evaluate and publish it again")
    return PublishedRun(uri, spec.model_copy(update={"root": uri.rsplit("/runs/", 1)[0]}), record, scores)
