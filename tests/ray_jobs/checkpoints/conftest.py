"""An adapter and its base, for the tests of checkpoints."""

from pathlib import Path

import pytest
from adapters import BASE, make_adapter_files, read_files
from samples import upload


@pytest.fixture
def base(store: str) -> str:
    return upload(f"{store}/base", read_files(BASE))


@pytest.fixture
def uri(store: str, tmp_path: Path) -> str:
    """An adapter as a trainer leaves it, with the trainer's notes and states beside it."""
    beside = {"README.md": b"of a base", "optimizer.pt": b"large", "trainer_state.json": b"{}"}
    return upload(f"{store}/run/step-1", make_adapter_files(tmp_path) | beside)


@pytest.fixture
def local(tmp_path: Path) -> tuple[str, str]:
    """An adapter and its base in directories."""
    return upload(str(tmp_path / "step-1"), make_adapter_files(tmp_path)), upload(
        str(tmp_path / "base"), read_files(BASE)
    )
