"""Describe a stage as a Ray job: its submission id, its command, and the files it leaves when done or failed.

The id comes from what the job produces, not from the run that submits it. Two runs that need the same golden set use
the same id, Ray refuses the second submission, and both wait for one job. That refusal is the only lock.
"""

import shlex
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError

from ray_jobs.contract.artifacts import Failure
from ray_jobs.contract.ids import digest, request_folder
from ray_jobs.contract.spec import Spec
from ray_jobs.contract.stored_model import NewerSchema
from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.names import printable
from ray_jobs.job.handshake import VARIABLE, say
from ray_jobs.storage import audits, json_files, objects, records
from ray_jobs.storage.manifests import uri_of_manifest

STAGES = ("preprocess", "caption", "evaluate", "audit")
BAD_INPUT_EXIT = 2  # of a job that left no failure.json, because it could not read its spec
MAX_FAILURE_BYTES = 2**20
MAX_MESSAGE_CHARS = 1000
CLOCK_SLACK = timedelta(seconds=5)  # the clocks of Ray and of the job may differ by this much


@dataclass(frozen=True)
class StageJob:
    """A stage as a Ray job. `marker` exists if the stage is complete. With `force`, the stage runs all the same."""

    stage: str
    spec_uri: str
    marker: str
    content_id: str
    root: str
    force: str | None

    @classmethod
    def of(cls, stage: str, spec: Spec) -> "StageJob":
        if stage == "preprocess":  # force remakes captions and scores; the golden set is determined by its id
            return cls(stage, spec.uri, uri_of_manifest(spec.golden_uri), spec.golden_id, spec.root, None)
        if stage == "caption":
            folder = f"{spec.captions_uri}/{request_folder(spec.force)}" if spec.force else spec.captions_uri
            return cls(stage, spec.uri, uri_of_manifest(folder), spec.caption_id, spec.root, spec.force)
        if stage == "evaluate":
            return cls(stage, spec.uri, f"{spec.request_uri}/verdict.json", spec.run_id, spec.root, spec.force)
        if stage == "audit":
            return cls(stage, spec.uri, audits.uri_of(spec.captions_uri), spec.caption_id, spec.root, None)
        raise ValueError(f"stage {stage!r}: not one of {', '.join(STAGES)}")

    def is_done(self) -> bool:
        """True if the stage is final. INCOMPLETE verdicts and failed audits are not: they run again.

        Raises NewerSchema for the result of a newer Assay.
        """
        if self.stage == "evaluate":
            return records.has_final_verdict(self.marker.rpartition("/")[0])
        if self.stage == "audit":
            return audits.has_passed(self.marker.rpartition("/")[0])
        if not self.has_result():
            return False
        json_files.check_replaceable(self.marker)  # raises for a newer Assay's result
        return True

    def has_result(self) -> bool:
        """Whether a job has left the stage's result, which may be an INCOMPLETE verdict."""
        return objects.exists(self.marker)

    def submission_id(self, generation: int) -> str:
        """The id of the job. `generation` counts the earlier jobs that ended without a result."""
        where = digest(self.root, self.force)[:8]
        return f"assay-{self.stage}-{self.content_id}-{where}-g{generation}"

    def payload(self, generation: int, asker: dict[str, str]) -> dict[str, Any]:
        return {
            "submission_id": self.submission_id(generation),
            "entrypoint": f"{VARIABLE}={say()} python -u -m ray_jobs.{self.stage} --spec {shlex.quote(self.spec_uri)}",
            "metadata": {"assay_spec": self.spec_uri, **asker},
        }


def read_failure(stage: str, job: dict[str, Any], root: str | None = None) -> Failure | None:
    """The `failure.json` of exactly this job. None if the job was killed, or if the file is an older job's.

    The file lies in the folder of the run that submitted the job, which the job's metadata names. The run must be below
    `root`, because anyone who can reach Ray can write metadata. The message is one line that a log can show.
    """
    spec_uri = (job.get("metadata") or {}).get("assay_spec")
    if not isinstance(spec_uri, str) or not spec_uri:
        return None
    if root is not None and (not spec_uri.startswith(f"{root}/runs/") or ".." in spec_uri.split("/")):
        return None
    try:
        failure = json_files.load(Failure, f"{spec_uri.rsplit('/', 1)[0]}/failure.json", MAX_FAILURE_BYTES)
    except NewerSchema as newer:  # the job did not replace it either
        return Failure(stage=stage, kind="bad-input", message=str(newer), at=datetime.now(UTC))
    except (FileNotFoundError, ValidationError, InputError):
        return None
    failure = failure.model_copy(update={"message": printable(" ".join(failure.message.split()), MAX_MESSAGE_CHARS)})
    started = datetime.fromtimestamp((job.get("start_time") or 0) / 1000, UTC)
    failed_at = failure.at if failure.at.tzinfo else failure.at.replace(tzinfo=UTC)
    return failure if failure.stage == stage and failed_at >= started - CLOCK_SLACK else None
