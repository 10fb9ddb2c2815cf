"""The model families' checkpoints, made once; and engines that start fast."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ray_cluster import Cluster


@pytest.fixture
def forked_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages and engines of the test are forked. Else each start of an engine imports vLLM twice: 12 s of a core."""
    monkeypatch.setenv("ASSAY_FORK_SERVER", "on")
    monkeypatch.setenv("ASSAY_FORK_SERVER_SECONDS", "60")  # an idle server outlives the tests for so long


@pytest.fixture
def plain_starts(forked_starts: None, on_cluster: "Cluster", monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not forked in this test of a file where the others' are. No engine is there that these have started."""
    monkeypatch.delenv("ASSAY_FORK_SERVER")
    on_cluster.end_engines()


@pytest.fixture(scope="session")
def families(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny checkpoint of each family, by the family's name."""
    from families import FAMILIES

    place = tmp_path_factory.mktemp("families")
    for name, make in FAMILIES.items():
        make(place / name)
    return {name: place / name for name in FAMILIES}
