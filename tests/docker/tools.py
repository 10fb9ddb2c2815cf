"""Finds the programs of the deploy environment."""

import sys
from pathlib import Path

DOCKER = Path(__file__).parents[2] / "docker"


def tool(name: str) -> Path:
    """The program that `make setup` installs beside this Python, never another version from the machine."""
    path = Path(sys.executable).parent / name
    assert path.exists(), f"{path}: not there; these tests run in .assay/deploy (make setup)"
    return path
