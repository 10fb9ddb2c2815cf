"""What a person decided about a run: whether it counts as accepted. The measured verdict stays as it is."""

from datetime import UTC
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, Field

from ray_jobs.contract.artifacts import Outcome
from ray_jobs.contract.stored_model import StoredModel

MAX_REASON, MAX_NAME = 2000, 200  # characters


class Decision(StoredModel):
    """A file of `decisions/`: one decision of one person about one run."""

    number: int = Field(ge=1)
    """The place of the decision among those of its series; the file is named by it."""
    suite: str
    """The suite of the run."""
    series_id: str
    """The series of the run."""
    run_id: str
    """The run."""
    checkpoint_folder: str
    """The run's folder is below the folder of this name."""
    checkpoint: str = Field(max_length=MAX_NAME)
    """The name of the checkpoint."""
    outcome: Outcome
    """The verdict that was measured. If the run is measured anew with another one, the decision counts no more."""
    accepted: bool
    """Whether the run may be a baseline."""
    reason: str = Field(min_length=1, max_length=MAX_REASON)
    """Why, in the person's words."""
    decided_by: str = Field(min_length=1, max_length=MAX_NAME)
    """Who decided: the name that the person has in Airflow, or on the machine where the command ran."""
    decided_at: Annotated[AwareDatetime, AfterValidator(lambda time: time.astimezone(UTC))]
    """When, in UTC."""


def describe_decision(decision: Decision) -> str:
    """Returns what was decided, by whom and why, on one line."""
    word = f"{decision.outcome} {'accepted' if decision.accepted else 'rejected'}"
    when = f"{decision.decided_at:%Y-%m-%d %H:%M} UTC"
    return f"{word} by {decision.decided_by}, {when}: {' '.join(decision.reason.split())}"
