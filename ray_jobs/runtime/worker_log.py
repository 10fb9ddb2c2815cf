"""Shows Assay's lines in the log of a Ray actor. Python shows only warnings where nobody has set up its logging."""

import logging
import sys

_log = logging.getLogger("assay")


def show_log_lines() -> None:
    """Print Assay's lines of this process to stdout, which Ray writes into the actor's log. A second call is free."""
    _log.setLevel(logging.INFO)
    if not _log.hasHandlers():
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        _log.addHandler(handler)
