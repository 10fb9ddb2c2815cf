"""How busy the GPU is, as nvidia-smi tells: the share of time in which a kernel ran, sampled ten times a second."""

import threading
import time
from contextlib import suppress


class Watch:
    """Looks at the GPU while it is entered; then `busy` tells the mean between two moments, seconds since the epoch."""

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
        """0 to 1; None without a GPU."""
        found = [share for at, share in self._seen if first <= at <= last]
        return sum(found) / len(found) if found else None

    def _look(self) -> None:
        import torch

        with suppress(Exception):  # no GPU
            while not self._over.wait(0.1):
                self._seen.append((time.time(), torch.cuda.utilization(0) / 100))
