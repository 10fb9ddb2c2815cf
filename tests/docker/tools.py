"""Where the deploy environment's programs are."""

import sys
from pathlib import Path

DOCKER = Path(__file__).parents[2] / "docker"


def tool(name: str) -> Path:
    """A program that `make setup` installs beside this Python; not whatever version the machine happens to have."""
    path = Path(sys.executable).parent / name
    assert path.exists(), f"{path}: not there; these tests run in .assay/deploy (make setup)"
    return path
