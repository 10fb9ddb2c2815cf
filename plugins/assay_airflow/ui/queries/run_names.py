"""Names runs, suites and parts as the pages' URLs do, and refuses every other text before a path is built from it."""

import os
import re
from typing import NamedTuple

from assay_airflow.ui.answers import refuse
from ray_jobs.inputs.names import printable
from ray_jobs.storage import uris

RUN = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.-]{0,199})/([A-Za-z0-9_]{1,64})", re.ASCII)
SUITE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}", re.ASCII)
GOLDEN = re.compile(r"[0-9a-f]{16}", re.ASCII)
PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)


class RunName(NamedTuple):
    """A run below `{root}/runs/`: the folder of its checkpoint, and its id."""

    folder: str
    run_id: str

    def __str__(self) -> str:
        return f"{self.folder}/{self.run_id}"

    def uri(self, root: str) -> str:
        return f"{root}/runs/{self.folder}/{self.run_id}"


def read_root() -> str:
    """Returns the URI of the storage root. Raises HTTPException 503 when the API server does not know it."""
    root = os.environ.get("ASSAY_ROOT")
    if not root:
        raise refuse(503, "ASSAY_ROOT is not set where Airflow's API server runs; set it to s3://bucket/prefix")
    return uris.make_absolute(root)


def parse_run(text: str) -> RunName:
    """Returns the run that a URL names. Raises HTTPException 400 for any other text."""
    match = RUN.fullmatch(text)
    if not match or ".." in text:
        raise refuse(400, f"run {printable(text, 100)!r}: not the name of a run; it is checkpoint-folder/run-id")
    return RunName(*match.groups())


def run_of_uri(uri: str) -> RunName | None:
    """Returns the run at the URI of its folder or of a file in it, None if the URI is no run's."""
    match = RUN.match("/".join(uri.rpartition("/runs/")[2].split("/")[:2]))
    return RunName(*match.groups()) if match and "/runs/" in uri else None


def parse_suite(text: str) -> str:
    """Returns the name of a suite. Raises HTTPException 400 for a text that can be none."""
    if not SUITE.fullmatch(text) or ".." in text:
        raise refuse(400, f"suite {printable(text, 100)!r}: not the name of a suite")
    return text


def parse_part(golden: str, part: str) -> tuple[str, str]:
    """Returns a golden set's id and a part's name. Raises HTTPException 400 for other texts."""
    if not GOLDEN.fullmatch(golden) or not PART.fullmatch(part):
        raise refuse(400, f"part {printable(golden, 40)!r} {printable(part, 80)!r}: not a part of a golden set")
    return golden, part
