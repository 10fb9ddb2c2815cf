"""Every fuzz target for a few thousand executions. The long run is `python -m dev.fuzz all --seconds 600`."""

from pathlib import Path

import pytest

from dev.fuzz import fuzz, targets

PLANTED = Path(__file__).parents[1] / "planted_targets"
EXECUTIONS, SECONDS, SEED = 3000, 60, 15


@pytest.mark.slow
@pytest.mark.parametrize("target", targets())
def test_a_short_run_finds_nothing(target: str, tmp_path: Path) -> None:
    result = fuzz(target, SECONDS, EXECUTIONS, SEED, tmp_path)
    assert (result.findings, result.crashes, result.saved) == (0, 0, [])
    assert result.executions >= 300  # a target that starts a process for each input is slow


@pytest.mark.slow
def test_a_planted_fault_is_found_and_a_dead_process_is_survived(tmp_path: Path) -> None:
    result = fuzz("planted", SECONDS, 50, SEED, tmp_path, folder=PLANTED)
    assert result.findings >= 1
    assert result.crashes >= 1
    assert any(name.startswith("KeyError-planted-") for name in result.saved)
    assert any(name.startswith("crash-") and (tmp_path / name).read_bytes() == b"dead" for name in result.saved)
