"""Progress a person can read in a task log: a line when something changed, at most one every few seconds."""

import logging
import time

log = logging.getLogger("assay")


class Progress:
    """Counts rows towards a total and logs `captions: 512/1000 images (51%), 84.0/s, 6 s left`."""

    def __init__(self, what: str, total: int, done: int = 0, every: float = 5.0) -> None:
        self.what, self.total, self.done, self.every = what, total, done, every
        self.began, self.said, self.resumed = time.monotonic(), time.monotonic(), done
        if done:
            log.info("%s: resuming, %d of %d images are done", what, done, total)

    def add(self, rows: int, note: str = "") -> None:
        self.done += rows
        now = time.monotonic()
        if now - self.said >= self.every or self.done >= self.total:
            self.said = now
            rate = (self.done - self.resumed) / max(now - self.began, 1e-9)
            left = (self.total - self.done) / rate if rate else 0.0
            share, ending = 100 * self.done / max(self.total, 1), f", {note}" if note else ""
            counted = f"{self.what}: {self.done}/{self.total} images ({share:.0f}%)"
            log.info("%s, %.1f/s, %.0f s left%s", counted, rate, left, ending)
