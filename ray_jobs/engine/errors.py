"""Turns the error of an engine that did not start, or that died, into one line that says what to do.

The drivers of jobs and of audits classify errors. The actor reads the output of vLLM.
"""

import os
import re
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from ray_jobs.inputs.errors import InputError, RetryableError

MAX_RESTARTS = 3  # engines that a job starts in place of dead ones before the job gives up


def classify_error(error: Exception, uri: str) -> Exception:
    """InputError for a fault of the checkpoint, RetryableError for an engine that died; else the error itself."""
    text = str(error)
    if match := re.search(r"ray_jobs\.[\w.]+\.(InputError|RetryableError|ComputeTimeout): ([^\n]+)", text):
        return (RetryableError if match[1] == "RetryableError" else InputError)(match[2])
    if match := re.search(r"Model architectures \[.*?\] are not supported|\S+ has no vLLM implementation", text):
        return InputError(f"checkpoint {uri}: vLLM cannot run it: {match[0]}; see vLLM's list of supported models")
    if match := re.search(r"\S*max_model_len \(\d+\) is greater than [^\n(]*(\([^)\n]*\))?", text):
        return InputError(f"checkpoint {uri}: {match[0].strip()}; lower engine.max_model_len in the suite")
    if match := re.search(r"weights were not initialized from checkpoint: \{([^}\n]{1,120})", text):
        return InputError(f"checkpoint {uri}: weights are missing: {match[1]}; save the whole model")
    if match := re.search(r"There is no module or parameter named '([^'\n]+)' in (\w+)", text):
        return InputError(
            f"checkpoint {uri}: vLLM's {match[2]} has no {match[1]}; name tensors as the published model does"
        )
    if match := re.search(r"tensor (\S+) of shape (\[[\d, ]*\]) does not fit the model", text):
        return InputError(
            f"checkpoint {uri}: {match[1]} is of shape {match[2]}, and the model that config.json describes has "
            "another; save config and weights together (save_pretrained)"
        )
    if "creation task" in text:
        return RetryableError(
            f"checkpoint {uri}: vLLM does not start ({last_exception(text)}); look at the engine's log on Ray"
        )
    if "EngineDeadError" in text or "ActorDiedError" in text or "actor died" in text.lower():
        return RetryableError(
            f"checkpoint {uri}: the engine died {MAX_RESTARTS + 1} times ({last_exception(text)}); "
            "look at the engine's log on Ray"
        )
    return error


def last_exception(text: str) -> str:
    """The last exception in a worker's traceback, at most 300 characters, without the frames."""
    exceptions = re.findall(r"[\w.]*(?:Error|Exception): [^\n]*", text)
    # vLLM says "initialization failed" of an error in another process
    specific = [line for line in exceptions if "initialization failed" not in line] or exceptions
    return f"last: {specific[-1][:300]}" if specific else "the worker's log in Ray has its last words"


class OutputTee:
    """Passes the output of this process and of child processes on to stderr, and keeps the last 400 lines.

    Only this output tells why vLLM's own process does not start, or why it dies.
    """

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=400)
        self._passing: threading.Thread | None = None

    @contextmanager
    def capture_children(self) -> Iterator[None]:
        """A context: child processes that start within it print through the tee for as long as they live."""
        sys.stdout.flush()
        sys.stderr.flush()
        reading, writing = os.pipe()
        originals = {number: os.dup(number) for number in (1, 2)}
        self._passing = threading.Thread(target=self._pass_on, args=(reading, os.dup(2)), daemon=True)
        self._passing.start()
        for number in originals:
            os.dup2(writing, number)
        os.close(writing)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, copy in originals.items():
                os.dup2(copy, number)
                os.close(copy)

    def last_exception(self, wait: float = 0.0) -> str:
        """The last exception that was printed. Waits up to `wait` seconds until no process prints any more."""
        if self._passing and wait:
            self._passing.join(wait)
        return last_exception("".join(self._lines))

    def _pass_on(self, reading: int, out: int) -> None:
        with open(reading, errors="replace") as lines:
            for line in lines:
                self._lines.append(line)
                os.write(out, line.encode())
