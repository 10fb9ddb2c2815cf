"""Turn a Ray job's log into lines for the task log: of limited length, without codes that move a terminal's cursor."""

import re
from collections.abc import Iterator

from ray_jobs.inputs.names import printable

MAX_LINE_CHARS = 64 * 1024  # characters; the rest of a longer line is dropped
MAX_LINES = 100_000  # of one job's log
MAX_CHARS = 32 * 2**20
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\^_]")


class LogLines:
    """Cuts a stream of text pieces into lines. Time and memory are linear in the input, even if no line ends."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = self._dropped = 0

    def add(self, text: str) -> Iterator[str]:
        """The lines that end in `text`. `text` may start and stop in the middle of a line."""
        *ends, rest = text.split("\n")
        for end in ends:
            self._append(end)
            yield self.take()
        self._append(rest)

    def take(self) -> str:
        """The text since the last line end, which it removes from the buffer."""
        line, dropped = "".join(self._pieces), self._dropped
        self._pieces, self._length, self._dropped = [], 0, 0
        return f"{line} ... ({dropped} characters more)" if dropped else line

    def _append(self, piece: str) -> None:
        room = MAX_LINE_CHARS - self._length
        if head := piece[:room]:
            self._pieces.append(head)
        self._length += len(head)
        self._dropped += len(piece) - len(head)


def format_line(line: str) -> str:
    """The line as a terminal would show it: a progress bar's last state, no colours, other control codes escaped."""
    text = ESCAPES.sub("", line.rstrip("\r").rsplit("\r", 1)[-1]).replace("\t", "    ")
    return text if text.isprintable() else printable(text, 2 * MAX_LINE_CHARS)
