from collections.abc import Generator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ray_jobs.engine.vllm_plugin import pinned_reader


@pytest.mark.parametrize("piece", [1 << 24, 1000, 8])
def test_tensors_are_read_as_they_were_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "large": torch.randn(61, 37, generator=generator),
        "half": torch.randn(5, 9, generator=generator).to(torch.bfloat16),
        "eighth": torch.randn(16, generator=generator).to(torch.float8_e4m3fn),
        "number": torch.tensor(7),
        "flags": torch.tensor([True, False, True]),
        "none": torch.empty(0, 4),
    }
    other = {f"layer-{number}": torch.full((40,), number, dtype=torch.int16) for number in range(100)}
    save_file(tensors, tmp_path / "a.safetensors")
    save_file(other, tmp_path / "b.safetensors")
    monkeypatch.setattr(pinned_reader, "PIECE_BYTES", piece)
    files = [str(tmp_path / name) for name in ("a.safetensors", "b.safetensors")]
    pairs = list(pinned_reader.iter_tensors(files, torch.device("cpu")))
    assert sorted(name for name, _ in pairs) == sorted(tensors | other)
    for name, tensor in pairs:
        expected = (tensors | other)[name]
        assert (tensor.dtype, tensor.shape) == (expected.dtype, expected.shape)
        assert torch.equal(tensor.view(-1).view(torch.uint8), expected.view(-1).view(torch.uint8))


def test_a_reader_that_is_left_early_ends_its_threads(tmp_path: Path) -> None:
    import threading

    save_file({f"layer-{number}": torch.zeros(1000) for number in range(100)}, tmp_path / "a.safetensors")
    reader = pinned_reader.iter_tensors([str(tmp_path / "a.safetensors")], torch.device("cpu"))
    next(reader)
    assert isinstance(reader, Generator)
    reader.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("weights")]
