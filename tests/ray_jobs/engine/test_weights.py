import pytest
import torch
from torch import nn

from ray_jobs.engine.weights import Held, Tally, watched


def tally(*tensors: torch.Tensor) -> tuple[int, int]:
    found = Tally()
    for tensor in tensors:
        found.add(tensor)
    return found.sum, found.count


@pytest.fixture
def values() -> torch.Tensor:
    return torch.randn(64, 48, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)


def test_order_shape_cut_and_padding_do_not_matter(values: torch.Tensor) -> None:
    expected = tally(values)
    assert tally(values.T) == expected
    assert tally(values[:10].reshape(-1), values[10:]) == expected
    assert tally(torch.cat([values, torch.zeros(5, 48, dtype=values.dtype)])) == expected
    assert tally(values.float()) == expected  # the same numbers, written longer


def test_one_value_that_is_stale_missing_or_doubled_matters(values: torch.Tensor) -> None:
    expected = tally(values)
    stale = values.clone()
    stale[3, 5] = stale[3, 5] * 1.01 + 0.01
    assert tally(stale)[0] != expected[0]
    assert tally(values.reshape(-1)[1:]) != expected
    assert tally(values, values[:1, :1]) != expected
    swapped_sign = values.clone()
    swapped_sign[0] *= -1
    assert tally(swapped_sign)[0] != expected[0]


def test_two_changes_do_not_cancel(values: torch.Tensor) -> None:
    changed = values.float().clone()
    changed[0, 0] += 1
    changed[0, 1] -= 1
    assert tally(changed)[0] != tally(values)[0]


def test_large_tensors_are_hashed_in_pieces(monkeypatch: pytest.MonkeyPatch, values: torch.Tensor) -> None:
    expected = tally(values)
    monkeypatch.setattr("ray_jobs.engine.weights.CHUNK", 100)
    assert tally(values) == expected


def test_tied_parameters_are_one() -> None:
    model = nn.ModuleDict({"embed": nn.Embedding(7, 4), "head": nn.Linear(4, 7, bias=False)})
    model["head"].weight = model["embed"].weight
    held = Held(Tally)
    with watched(model, held):
        pass
    assert list(held) == [1]
    assert (held[1].sum, held[1].count) == tally(model["embed"].weight)
