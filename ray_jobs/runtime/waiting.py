"""Logs the reason of a wait after ten seconds, and then once per minute."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

AFTER, EVERY = 10.0, 60.0  # seconds
log = logging.getLogger("assay")


@contextmanager
def log_while_waiting(describe: Callable[[], str]) -> Iterator[None]:
    """Log the text of `describe` from a thread while the block runs, unless the text is empty. Ends no wait."""
    is_over, started_at = threading.Event(), time.monotonic()

    def log_lines() -> None:
        pause = AFTER
        while not is_over.wait(pause):
            line = ""
            with suppress(Exception):  # `describe` may ask the very thing that the process waits for
                line = describe()
            if line and not is_over.is_set():
                log.info("%s; %.0f s so far", line, time.monotonic() - started_at)
            pause = EVERY

    threading.Thread(target=log_lines, daemon=True, name="tell-waiting").start()
    try:
        yield
    finally:
        is_over.set()
