"""Gives the scripts in dev/ the tree to measure: the working tree, or any commit, unpacked into a temporary folder."""

import io
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]


@contextmanager
def open_tree(commit: str | None) -> Iterator[Path]:
    """The root folder of this tree: the repository itself for None, else a copy of the commit that is deleted at exit.

    Raises SystemExit with one line if git does not know the commit.
    """
    if commit is None:
        yield REPO
        return
    command = ["git", "-C", str(REPO), "archive", "--format=tar", commit]
    archive = subprocess.run(command, capture_output=True, check=False)
    if archive.returncode:
        raise SystemExit(f"{commit}: {archive.stderr.decode().strip()}")
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")
        yield Path(folder)


def describe_tree(commit: str | None) -> str:
    """`working tree at 1a2b3c4`, or `commit 1a2b3c4`."""
    command = ["git", "-C", str(REPO), "rev-parse", "--short", commit or "HEAD"]
    short = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return f"commit {short}" if commit else f"working tree at {short}"
