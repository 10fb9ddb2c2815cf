from typing import Any

from ray_jobs.engine.canary import Canary, make_pictures, matches

SAID = ((5, -0.10), (7, -0.30), (2, -1.20))


def make_trace(by: float) -> tuple[tuple[Any, float], ...]:
    return tuple((token, probability + by) for token, probability in SAID)


def test_the_same_weights_give_the_same_trace_within_the_noise() -> None:
    assert matches(SAID, SAID)
    assert matches(SAID, make_trace(0.04))
    assert not matches(SAID, make_trace(0.06))


def test_parting_at_a_tie_is_the_same_and_at_a_difference_is_not() -> None:
    assert matches(SAID, (SAID[0], (8, -0.31), (9, -4.0)))  # after that they speak of something else
    assert not matches(SAID, (SAID[0], (8, -0.40), (9, -4.0)))


def test_stale_weights_are_doubted() -> None:
    canary = Canary({})
    canary.remember("a", SAID)
    assert canary.find_mismatch("b", make_trace(0.001), True) is None
    assert "exactly what it said with the weights before" in str(canary.find_mismatch("b", SAID, True))
    assert canary.find_mismatch("copy-of-a", SAID, False) is None


def test_reloaded_weights_must_give_their_first_trace() -> None:
    canary = Canary({})
    canary.remember("a", SAID)
    canary.remember("b", make_trace(-1))
    assert canary.find_mismatch("a", SAID, True) is None
    assert "does not say what it said" in str(canary.find_mismatch("a", make_trace(-1), True))


def test_the_pictures_are_always_the_same_and_differ() -> None:
    first, second = ([picture.tobytes() for picture in make_pictures()] for _ in range(2))
    assert first == second
    assert len(set(first)) == 3
