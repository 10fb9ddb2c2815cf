"""What an engine that did not start or did not survive means, in one line."""

import os
import re
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from ray_jobs.inputs.errors import InputError, RetryableError

MAX_RESTARTS = 3  # an engine that dies is started again this often before the job gives up


def classify_error(error: Exception, uri: str) -> Exception:
    """InputError for a fault of the checkpoint's, RetryableError for an engine that dies; the error itself when
    unknown."""
    text = str(error)
    if found := re.search(r"ray_jobs\.[\w.]+\.(InputError|RetryableError|ComputeTimeout): ([^\n]+)", text):
        return (RetryableError if found[1] == "RetryableError" else InputError)(found[2])
    if found := re.search(r"Model architectures \[.*?\] are not supported|\S+ has no vLLM implementation", text):
        return InputError(f"checkpoint {uri}: vLLM cannot run it: {found[0]}; see vLLM's list of supported models")
    if found := re.search(r"\S*max_model_len \(\d+\) is greater than [^\n(]*(\([^)\n]*\))?", text):
        return InputError(f"checkpoint {uri}: {found[0].strip()}; lower engine.max_model_len in the suite")
    if found := re.search(r"weights were not initialized from checkpoint: \{([^}\n]{1,120})", text):
        return InputError(f"checkpoint {uri}: weights are missing: {found[1]}; save the whole model")
    if found := re.search(r"There is no module or parameter named '([^'\n]+)' in (\w+)", text):
        return InputError(
            f"checkpoint {uri}: vLLM's {found[2]} has no {found[1]}; name tensors as the published model does"
        )
    if found := re.search(r"tensor (\S+) of shape (\[[\d, ]*\]) does not fit the model", text):
        return InputError(
            f"checkpoint {uri}: {found[1]} is of shape {found[2]}, and the model that config.json describes has "
            "another; save config and weights together (save_pretrained)"
        )
    if "creation task" in text:
        return RetryableError(f"checkpoint {uri}: vLLM does not start; {last_exception(text)}")
    if "EngineDeadError" in text or "ActorDiedError" in text or "actor died" in text.lower():
        return RetryableError(f"checkpoint {uri}: the engine died {MAX_RESTARTS + 1} times; {last_exception(text)}")
    return error


def last_exception(text: str) -> str:
    """The last exception that a worker's traceback names, without the frames above it."""
    found = re.findall(r"[\w.]*(?:Error|Exception): [^\n]*", text)
    named = [one for one in found if "initialization failed" not in one] or found  # vLLM's word for an error elsewhere
    return f"last: {named[-1][:300]}" if named else "the worker's log in Ray has its last words"


class OutputTee:
    """What this process and the children that it starts meanwhile print: passed on to stderr, the last of it kept.

    vLLM's own process says why it does not start, or of what it dies, only there.
    """

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=400)
        self._passing: threading.Thread | None = None

    @contextmanager
    def capture_children(self) -> Iterator[None]:
        """Start children within it: they print through it for as long as they live."""
        sys.stdout.flush()
        sys.stderr.flush()
        reading, writing = os.pipe()
        kept = {number: os.dup(number) for number in (1, 2)}
        self._passing = threading.Thread(target=self._pass_on, args=(reading, os.dup(2)), daemon=True)
        self._passing.start()
        for number in kept:
            os.dup2(writing, number)
        os.close(writing)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, copy in kept.items():
                os.dup2(copy, number)
                os.close(copy)

    def last_exception(self, wait: float = 0.0) -> str:
        """The last exception that was printed, once nobody prints any more or so many seconds later."""
        if self._passing and wait:
            self._passing.join(wait)
        return last_exception("".join(self._lines))

    def _pass_on(self, reading: int, out: int) -> None:
        with open(reading, errors="replace") as lines:
            for line in lines:
                self._lines.append(line)
                os.write(out, line.encode())
