import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ray_jobs.engine.vllm_plugin.weight_hash import WeightHash, add_torch, choose_add


def tally(*tensors: torch.Tensor) -> tuple[int, int]:
    weight_hash = WeightHash()
    for tensor in tensors:
        weight_hash.add(tensor)
    return weight_hash.sum, weight_hash.count


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
    copy = values.float().clone()
    copy[0, 0] += 1
    copy[0, 1] -= 1
    assert tally(copy)[0] != tally(values)[0]


def test_large_tensors_are_hashed_in_pieces(monkeypatch: pytest.MonkeyPatch, values: torch.Tensor) -> None:
    expected = tally(values)
    monkeypatch.setattr("ray_jobs.engine.vllm_plugin.weight_hash.CHUNK", 100)
    assert tally(values) == expected


@pytest.mark.slow
def test_the_kernel_of_a_gpu_makes_the_same_hash() -> None:
    """Triton's interpreter runs it here, on a CPU."""
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    command = [sys.executable, str(Path(__file__).with_name("compare_hashes.py"))]
    process = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert process.stdout == "the same\n", process.stderr


def test_where_the_kernel_does_not_run_torch_hashes(caplog: pytest.LogCaptureFixture) -> None:
    """This CPU is such a place, because Triton has no interpreter here."""
    assert choose_add(torch.device("cpu"), torch.bfloat16) is add_torch
    assert "hashed by torch, not by the kernel for it: " in caplog.text


@pytest.mark.slow
def test_the_kernel_compiles_for_a_gpu() -> None:
    """Triton's compiler refuses some code that its interpreter takes. This compiles for an H100 or H200, which
    cannot run here.

    By the Triton of the CPU's lock; by that of the GPU's (3.7.1) it was compiled by hand.
    """
    command = [sys.executable, str(Path(__file__).with_name("compile_kernel.py"))]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.stdout.splitlines() == ["i16 True", "fp16 True", "fp32 True"], process.stderr
