"""Log the progress of a job: a line when rows were added, at most one every few seconds."""

import logging
import time

log = logging.getLogger("assay")


class Progress:
    """Counts rows towards a total and logs `captions: 512/1000 images (51%), 84.0/s, 6 s left`."""

    def __init__(self, what: str, total: int, done: int = 0, every: float = 5.0, unit: str = "images") -> None:
        self.what, self.total, self.done, self.every, self.unit = what, total, done, every, unit
        self.started_at, self.logged_at, self.rows_before = time.monotonic(), time.monotonic(), done
        self.first: tuple[float, int] | None = None
        if done:
            log.info("%s: resuming, %d of %d %s are done", what, done, total, unit)

    def add(self, rows: int, note: str = "") -> None:
        now = time.monotonic()
        if self.first is None:  # the time before the first rows is start-up, so the rate leaves it out
            self.first = (now, self.done + rows)
        self.done += rows
        if now - self.logged_at >= self.every or self.done >= self.total:
            self.logged_at = now
            seconds, rows_since = now - self.first[0], self.done - self.first[1]
            if rows_since <= 0:
                seconds, rows_since = now - self.started_at, self.done - self.rows_before
            rate = rows_since / max(seconds, 1e-9)
            seconds_left = (self.total - self.done) / rate if rate else 0.0
            share, ending = 100 * self.done / max(self.total, 1), f", {note}" if note else ""
            counts = f"{self.what}: {self.done}/{self.total} {self.unit} ({share:.0f}%)"
            log.info("%s, %.1f/s, %.0f s left%s", counts, rate, seconds_left, ending)
