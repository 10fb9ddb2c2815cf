"""Finds the runs of the corpus by the names of their checkpoints, as the pages' URLs name them."""

from pathlib import Path


def find_run(root: Path, checkpoint: str) -> str:
    """Returns checkpoint-folder/run-id of the checkpoint's run."""
    return next((root / "runs").glob(f"{checkpoint}-????????/*")).relative_to(root / "runs").as_posix()
