"""The fuzz target of checkpoints on its seeds, and on a bounded number of changes of each."""

import random

import checkpoint_folder
import pytest
from odd_folders import good_files


@pytest.mark.parametrize("start", range(4))
def test_changed_seeds_raise_nothing_else(start: int) -> None:
    random_source = random.Random(start)
    for seed in checkpoint_folder.SEEDS()[start::4]:
        checkpoint_folder.try_input(seed)
        for _ in range(3):
            checkpoint_folder.try_input(change(seed, random_source))


def change(data: bytes, rng: random.Random) -> bytes:
    """A copy with some bytes changed, removed or doubled."""
    mutated = bytearray(data)
    for _ in range(rng.choice((1, 2, 8))):
        position = rng.randrange(len(mutated) + 1)
        match rng.randrange(3):
            case 0:
                mutated[position : position + 1] = bytes([rng.randrange(256)])
            case 1:
                del mutated[position : position + rng.choice((1, 4, 50))]
            case _:
                mutated[position:position] = mutated[position : position + rng.choice((1, 4, 50))]
    return bytes(mutated)


def test_a_finding_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_fault(*_: object) -> None:
        raise KeyError("architectures")

    monkeypatch.setattr("ray_jobs.checkpoints.inspect.read_config", raise_fault)
    with pytest.raises(AssertionError, match="cannot be judged"):
        checkpoint_folder.try_input(checkpoint_folder.encode(good_files()))


def test_a_folder_comes_back_as_it_was_encoded() -> None:
    files = good_files()
    assert dict(checkpoint_folder.decode(checkpoint_folder.encode(files))) == files
