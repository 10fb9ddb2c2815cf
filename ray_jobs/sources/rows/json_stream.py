"""Read a JSON document that may be larger than memory, entry by entry. Memory holds one entry at a time.

`annotations` reads COCO's files with this. One of these files has 450 MB.
"""

import codecs
import io
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from ray_jobs.inputs.errors import InputError
from ray_jobs.sources.listing.bounds import MOST_LINE

CHUNK = 2**20  # bytes
SPACE = " \t\r\n"
ENDS = frozenset(f"{SPACE},:]}}")  # the characters that may follow a value


class Entry(NamedTuple):
    """A member of the list under `key`, or the value of `key`. `key` is empty when the document is a list."""

    key: str
    value: Any
    is_listed: bool


class JsonStream:
    """The entries of the document in `file`. `uri` names the document in errors."""

    def __init__(self, uri: str, file: io.BufferedIOBase) -> None:
        self.uri = uri
        self._file, self._decoder = file, json.JSONDecoder()
        self._decode = codecs.getincrementaldecoder("utf-8-sig")()
        self._text, self._at, self._ended = "", 0, False

    def entries(self) -> Iterator[Entry]:
        """Every entry in order.

        Raises InputError when the document is not a JSON object or list, and for an entry that is too large.
        """
        sign = self._take()
        if sign == "[":
            yield from self._list_members("")
        elif sign == "{":
            yield from self._members()
        else:
            raise self._fault("is neither a JSON object nor a list")
        if self._peek():
            raise self._fault("goes on behind the end of its JSON; write one document, or one object a line as .jsonl")

    def _members(self) -> Iterator[Entry]:
        if self._peek() == "}":
            self._take()
            return
        while True:
            key = self._value()
            if not isinstance(key, str) or self._take() != ":":
                raise self._fault("is no JSON: a key is missing")
            if self._peek() == "[":
                self._take()
                yield from self._list_members(key)
            else:
                yield Entry(key, self._value(), False)
            if (sign := self._take()) == "}":
                return
            if sign != ",":
                raise self._fault("is no JSON: a comma is missing")

    def _list_members(self, key: str) -> Iterator[Entry]:
        if self._peek() == "]":
            self._take()
            return
        while True:
            yield Entry(key, self._value(), True)
            if (sign := self._take()) == "]":
                return
            if sign != ",":
                raise self._fault("is no JSON: a comma is missing")

    def _value(self) -> Any:
        """The next value. Reads more text until the value is complete."""
        self._peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
                # Without an end, more of a number may follow: 12, 12.5, 12.5e3.
                if self._ended or self._text[end : end + 1] in ENDS:
                    self._at = end
                    return value
            except json.JSONDecodeError:
                if self._ended:
                    raise self._fault("is cut off, or is no JSON") from None
            except RecursionError:
                raise self._fault("is nested too deep") from None
            if len(self._text) - self._at > MOST_LINE:
                raise self._fault(f"has an entry of over {MOST_LINE} characters, or is no JSON")
            self._fill()

    def _peek(self) -> str:
        """The next character that is not a space; empty at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in SPACE:
                self._at += 1
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            self._fill()

    def _take(self) -> str:
        sign = self._peek()
        self._at += len(sign)
        return sign

    def _fill(self) -> None:
        data = self._file.read(max(CHUNK, len(self._text) - self._at))  # each retry reads twice as much
        try:
            text = self._decode.decode(data, final=not data)
        except UnicodeDecodeError:
            raise self._fault("is not UTF-8; save it as UTF-8") from None
        self._text, self._at, self._ended = self._text[self._at :] + text, 0, not data

    def _fault(self, what: str) -> InputError:
        return InputError(f"dataset {self.uri}: {what}")
