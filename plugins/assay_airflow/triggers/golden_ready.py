"""Wait until the golden set's manifest exists. It is written last, so the set is complete then."""

# mypy: allow-untyped-calls

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import TriggerEvent
from pydantic import ValidationError

from assay_airflow import limits
from assay_airflow.triggers.polling import PollingTrigger, poll_until_ready
from ray_jobs.contract.artifacts import Manifest
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import json_files
from ray_jobs.storage.manifests import uri_of_manifest


class GoldenReadyTrigger(PollingTrigger):
    def __init__(self, golden_uri: str, deadline: float, poll_interval: float = 10.0) -> None:
        super().__init__()
        self.golden_uri, self.deadline, self.poll_interval = golden_uri, deadline, poll_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            "assay_airflow.triggers.golden_ready.GoldenReadyTrigger",
            {"golden_uri": self.golden_uri, "deadline": self.deadline, "poll_interval": self.poll_interval},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        outage = limits.OUTAGE.total_seconds()
        yield TriggerEvent(await poll_until_ready(self.poll, self.poll_interval, self.deadline, self.log.info, outage))

    async def poll(self) -> str | None:
        return await asyncio.to_thread(describe_missing_golden, self.golden_uri)


def describe_missing_golden(golden_uri: str) -> str | None:
    """One line that names the missing file, or None if the golden set is complete.

    Raises InputError for a manifest that is not valid or that a newer Assay wrote.
    """
    uri = uri_of_manifest(golden_uri)
    try:
        json_files.load(Manifest, uri)
    except FileNotFoundError:
        return f"golden set {golden_uri}: not complete, manifest.json is not there yet"
    except ValidationError as error:
        fault = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise InputError(f"golden set {golden_uri}: manifest.json is not valid ({fault}); delete the folder") from None
    return None
