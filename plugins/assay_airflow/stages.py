"""A stage as a Ray job: the id it is submitted under, the command, and what it leaves when done or failed.

The id is made from what the job produces, not from who asks for it: two runs that need one golden set ask for the same
id, Ray refuses the second, and both wait for one job. That refusal is the only lock there is.
"""

import shlex
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError

from ray_jobs.contract.artifacts import Failure
from ray_jobs.contract.ids import digest, forced_folder
from ray_jobs.contract.spec import Spec
from ray_jobs.contract.stored_model import NewerSchema
from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.names import printable
from ray_jobs.job.handshake import VARIABLE, say
from ray_jobs.storage import audits, json_files, objects, records

STAGES = ("preprocess", "caption", "evaluate", "audit")
BAD_INPUT_EXIT = 2  # of a job that could not say more, the spec being unreadable
LARGEST_FAILURE = 2**20  # bytes
LONGEST_MESSAGE = 1000  # characters
CLOCK_SLACK = timedelta(seconds=5)  # between the clock that stamps a job and the one that stamps its failure


@dataclass(frozen=True)
class StageJob:
    """`marker` exists when the stage is complete. `force` is set when the work is to be done although it exists."""

    stage: str
    spec_uri: str
    marker: str
    content_id: str
    root: str
    force: str | None

    @classmethod
    def of(cls, stage: str, spec: Spec) -> "StageJob":
        if stage == "preprocess":  # force remakes captions and scores; the golden set is determined by its id
            return cls(stage, spec.uri, f"{spec.golden_uri}/manifest.json", spec.golden_id, spec.root, None)
        if stage == "caption":
            own = f"{spec.captions_uri}/{forced_folder(spec.force)}" if spec.force else spec.captions_uri
            return cls(stage, spec.uri, f"{own}/manifest.json", spec.caption_id, spec.root, spec.force)
        if stage == "evaluate":
            return cls(stage, spec.uri, f"{spec.request_uri}/verdict.json", spec.run_id, spec.root, spec.force)
        if stage == "audit":
            return cls(stage, spec.uri, audits.uri_of(spec.captions_uri), spec.caption_id, spec.root, None)
        raise ValueError(f"stage {stage!r}: not one of {', '.join(STAGES)}")

    def is_done(self) -> bool:
        """Whether there is nothing to ask for: an INCOMPLETE verdict is, and an audit that found something, which says
        it again. Raises NewerSchema for the result of a newer Assay."""
        if self.stage == "evaluate":
            return records.decided(self.marker.rpartition("/")[0])
        if self.stage == "audit":
            return audits.passed(self.marker.rpartition("/")[0])
        if not self.has_result():
            return False
        json_files.check_replaceable(self.marker)  # what a newer Assay made is no use to this one
        return True

    def has_result(self) -> bool:
        """Whether a job has left what the stage is for, be it an INCOMPLETE verdict."""
        return objects.exists(self.marker)

    def submission_id(self, generation: int) -> str:
        """Generations count the attempts that ended without a result."""
        where = digest(self.root, self.force)[:8]
        return f"assay-{self.stage}-{self.content_id}-{where}-g{generation}"

    def payload(self, generation: int, asker: dict[str, str]) -> dict[str, Any]:
        return {
            "submission_id": self.submission_id(generation),
            "entrypoint": f"{VARIABLE}={say()} python -u -m ray_jobs.{self.stage} --spec {shlex.quote(self.spec_uri)}",
            "metadata": {"assay_spec": self.spec_uri, **asker},
        }


def failure_of(stage: str, job: dict[str, Any], root: str | None = None) -> Failure | None:
    """The `failure.json` that this very job left, None for a job that was killed or left an older one's.

    It lies in the run of whoever submitted the job, which the job's metadata tells: of a run below `root` only, because
    whoever reaches Ray can write such metadata. Its message is one line that a log can show.
    """
    spec_uri = (job.get("metadata") or {}).get("assay_spec")
    if not isinstance(spec_uri, str) or not spec_uri:
        return None
    if root is not None and (not spec_uri.startswith(f"{root}/runs/") or ".." in spec_uri.split("/")):
        return None
    try:
        failure = json_files.load(Failure, f"{spec_uri.rsplit('/', 1)[0]}/failure.json", LARGEST_FAILURE)
    except NewerSchema as newer:  # the job did not dare to replace it either
        return Failure(stage=stage, kind="bad-input", message=str(newer), at=datetime.now(UTC))
    except (FileNotFoundError, ValidationError, InputError):
        return None
    failure = failure.model_copy(update={"message": printable(" ".join(failure.message.split()), LONGEST_MESSAGE)})
    started = datetime.fromtimestamp((job.get("start_time") or 0) / 1000, UTC)
    at = failure.at if failure.at.tzinfo else failure.at.replace(tzinfo=UTC)
    return failure if failure.stage == stage and at >= started - CLOCK_SLACK else None
