"""Builds the messages that people get: one sentence and one link about one checkpoint."""

from dataclasses import dataclass
from typing import Literal

from airflow.configuration import conf

from assay_airflow.links import build_run_url
from ray_jobs.contract.artifacts import Record
from ray_jobs.inputs.names import printable

MAX_REASON = 300
Kind = Literal["FAIL", "INCOMPLETE", "audit", "late"]


@dataclass(frozen=True)
class Message:
    """A sentence without a line break, and the address that it leads to."""

    kind: Kind
    checkpoint: str
    suite: str
    sentence: str
    link: str


def describe_verdict(record: Record, dag_id: str, run_id: str, in_a_row: int = 1) -> Message:
    """The message about a FAIL or an INCOMPLETE. `in_a_row` counts the checkpoints with this outcome, this one too."""
    verdict = record.verdict
    series = f", the {in_a_row}th checkpoint in a row" if in_a_row > 3 else ""
    what = f"{verdict.outcome} {record.checkpoint.name} (suite {record.suite}{series}): {verdict.reason}"
    link = build_link(build_run_url(dag_id, run_id))
    return Message(verdict.outcome, record.checkpoint.name, record.suite, printable(what, MAX_REASON), link)  # type: ignore[arg-type]


def build_link(url: str) -> str:
    """The absolute address of a page, for people who are not on a page of Airflow."""
    return f"{conf.get('api', 'base_url', fallback='').rstrip('/')}/{url}"
