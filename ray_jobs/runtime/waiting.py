"""Say what a process waits for, once it has waited for ten seconds, and once a minute from then on."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

AFTER, EVERY = 10.0, 60.0  # seconds
log = logging.getLogger("assay")


@contextmanager
def tell_waiting(describe: Callable[[], str]) -> Iterator[None]:
    """Within it a thread logs what `describe` returns, unless that is empty. It ends no wait: who waits does."""
    over, began = threading.Event(), time.monotonic()

    def tell() -> None:
        pause = AFTER
        while not over.wait(pause):
            line = ""
            with suppress(Exception):  # what it asks may be what is waited for
                line = describe()
            if line and not over.is_set():
                log.info("%s; %.0f s so far", line, time.monotonic() - began)
            pause = EVERY

    threading.Thread(target=tell, daemon=True, name="tell-waiting").start()
    try:
        yield
    finally:
        over.set()
