"""Samples ten times per second how busy the GPU is: the share of time in which a kernel ran, as nvidia-smi has it."""

import threading
import time
from contextlib import suppress


class Watch:
    """Samples the GPU between `__enter__` and `__exit__`. `busy` then returns the mean between two moments."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def busy(self, first: float, last: float) -> float | None:
        """The mean share, 0 to 1, between two moments in seconds since the epoch; None without a GPU."""
        shares = [share for moment, share in self._seen if first <= moment <= last]
        return sum(shares) / len(shares) if shares else None

    def _look(self) -> None:
        import torch

        with suppress(Exception):  # no GPU
            while not self._over.wait(0.1):
                self._seen.append((time.time(), torch.cuda.utilization(0) / 100))
