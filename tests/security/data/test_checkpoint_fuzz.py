"""The fuzz target of checkpoints holds on its seeds, and on a bounded number of changes of each."""

import random

import checkpoint_folder
import pytest
from odd_folders import good_files


@pytest.mark.parametrize("start", range(4))
def test_changed_seeds_raise_nothing_else(start: int) -> None:
    made = random.Random(start)
    for seed in checkpoint_folder.SEEDS()[start::4]:
        checkpoint_folder.try_input(seed)
        for _ in range(3):
            checkpoint_folder.try_input(change(seed, made))


def change(data: bytes, made: random.Random) -> bytes:
    """Some bytes of another value, left out, or there twice."""
    changed = bytearray(data)
    for _ in range(made.choice((1, 2, 8))):
        at = made.randrange(len(changed) + 1)
        match made.randrange(3):
            case 0:
                changed[at : at + 1] = bytes([made.randrange(256)])
            case 1:
                del changed[at : at + made.choice((1, 4, 50))]
            case _:
                changed[at:at] = changed[at : at + made.choice((1, 4, 50))]
    return bytes(changed)


def test_a_finding_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("architectures")

    monkeypatch.setattr("ray_jobs.checkpoints.config_files.read_config", broken)
    with pytest.raises(AssertionError, match="cannot be judged"):
        checkpoint_folder.try_input(checkpoint_folder.encode(good_files()))


def test_a_folder_comes_back_as_it_was_encoded() -> None:
    files = good_files()
    assert dict(checkpoint_folder.decode(checkpoint_folder.encode(files))) == files
