"""Reads tensors of safetensors files to a GPU. Threads copy them into page-locked memory, and the GPU copies from it.

The model loader calls it, in vLLM's process. vLLM's own loader copies page by page from mapped files. benchmarks/LOG.md
compares vLLM's loaders with this one.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

from ray_jobs.runtime.prefetch import prefetch

THREADS = 8
PIECE_BYTES = 16 << 20  # bytes that a thread copies at once

Piece = tuple[str, torch.Tensor, int, bool]  # the tensor's name, its target, the first byte, whether it is the last


def iter_tensors(files: Sequence[str], device: torch.device) -> Iterator[tuple[str, torch.Tensor]]:
    """The files' tensors with their names, on the device, in the order of the files.

    A tensor is complete for operations on the current CUDA stream.
    """
    on_gpu = device.type == "cuda"
    free = SimpleQueue[tuple[torch.Tensor, Any]]()  # a buffer, and the event after which it may be written to
    for _ in range(2 * THREADS):
        free.put((torch.empty(PIECE_BYTES, dtype=torch.uint8, device="cpu", pin_memory=on_gpu), None))

    def fill(filling: tuple[Piece, torch.Tensor]) -> tuple[Piece, torch.Tensor]:
        piece, source = filling
        buffer, copied = free.get()
        if copied:
            copied.synchronize()
        np.copyto(buffer.numpy()[: len(source)], source.numpy())
        return piece, buffer

    start_thread = partial(torch.cuda.set_device, device) if on_gpu else None
    for piece, buffer in prefetch(fill, _iter_pieces(files, device), 2 * THREADS, THREADS, start_thread):
        name, target, start, last = piece
        there, copied = target.view(-1).view(torch.uint8)[start : start + PIECE_BYTES], None
        there.copy_(buffer[: len(there)], non_blocking=True)
        if on_gpu:
            copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            copied.record()
        free.put((buffer, copied))
        if last:
            yield name, target


def _iter_pieces(files: Sequence[str], device: torch.device) -> Iterator[tuple[Piece, torch.Tensor]]:
    """Every piece of every tensor, and its bytes in the mapped file."""
    for file in files:
        with safe_open(file, framework="pt", device="cpu") as opened:
            for name in opened.offset_keys():
                tensor = opened.get_tensor(name)
                flat, target = tensor.reshape(-1).view(torch.uint8), torch.empty_like(tensor, device=device)
                for start in range(0, max(1, len(flat)), PIECE_BYTES):
                    yield (name, target, start, start + PIECE_BYTES >= len(flat)), flat[start : start + PIECE_BYTES]
