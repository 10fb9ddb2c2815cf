"""Lines of a Ray job's log, made fit for a task log: bounded, one a line, nothing that moves a terminal's cursor."""

import re
from collections.abc import Iterator

from ray_jobs.inputs.names import printable

LONGEST_LINE = 64 * 1024  # characters; the rest of a longer line is dropped
MOST_LINES = 100_000  # of one job's log
MOST_CHARACTERS = 32 * 2**20
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\^_]")


class LogLines:
    """Cuts a stream of pieces into lines. Takes time and memory by what it is given, whatever has no end."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._kept = self._dropped = 0

    def add(self, text: str) -> Iterator[str]:
        """The lines that end in `text`, which may begin and end inside of a line."""
        *ends, rest = text.split("\n")
        for end in ends:
            self._keep(end)
            yield self.take()
        self._keep(rest)

    def take(self) -> str:
        """What has come of a line since the last end."""
        line, dropped = "".join(self._pieces), self._dropped
        self._pieces, self._kept, self._dropped = [], 0, 0
        return f"{line} ... ({dropped} characters more)" if dropped else line

    def _keep(self, piece: str) -> None:
        room = LONGEST_LINE - self._kept
        if fitting := piece[:room]:
            self._pieces.append(fitting)
        self._kept += len(fitting)
        self._dropped += len(piece) - len(fitting)


def show(line: str) -> str:
    """What a person would see of a line: of a progress bar its last state, no colours, everything else visible."""
    text = ESCAPES.sub("", line.rstrip("\r").rsplit("\r", 1)[-1]).replace("\t", "    ")
    return text if text.isprintable() else printable(text, 2 * LONGEST_LINE)
