"""The model families' checkpoints, made once."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def families(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny checkpoint of each family, by the family's name."""
    from families import FAMILIES

    place = tmp_path_factory.mktemp("families")
    for name, make in FAMILIES.items():
        make(place / name)
    return {name: place / name for name in FAMILIES}
