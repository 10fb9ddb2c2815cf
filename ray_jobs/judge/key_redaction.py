"""A key taken out of whatever an endpoint echoes, in each form in which it is likely to come back."""

import base64
import re
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import quote

from ray_jobs.inputs.names import printable

MASK = "***"
LEAST = 8  # characters of a key that is masked: what is shorter is in many a text by chance
WITHHELD = "(not kept: it holds the judge's key)"
LINE_CHARACTERS = 2**20


@dataclass(frozen=True)
class Secret:
    """`value` is the key itself; `str()` of this does not tell it."""

    value: str

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    @cached_property
    def forms(self) -> tuple[str, ...]:
        """The key, reversed, percent-encoded, in hexadecimal and in base64, the longest first."""
        data = self.value.encode()
        found = {self.value, quote(self.value, safe=""), "".join(f"%{byte:02x}" for byte in data), data.hex()}
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            for before in range(3):  # it may begin at any of three places in a longer text
                text = encode(b"\0" * before + data).decode().rstrip("=")
                cut = text[-(-before * 8 // 6) :]
                found.add(cut if (len(data) + before) % 3 == 0 else cut[:-1])  # the last character may hold more
        found |= {form[::-1] for form in found}
        return tuple(sorted((form for form in found if len(form) >= LEAST), key=len, reverse=True))

    @cached_property
    def squeezed_forms(self) -> tuple[str, ...]:
        return tuple(form for form in map(_squeeze, self.forms) if len(form) >= LEAST)

    def mask(self, text: str, one_line: bool = True) -> str:
        """The text without the key, fit to be stored; on one line everything that is not plainly visible is escaped.

        Where the key stands in it with other characters in between, or in other letters' case, nothing is left of it.
        """
        if len(self.value) >= LEAST:
            for form in self.forms:
                text = text.replace(form, MASK)
            plain = _squeeze(text)
            if any(form in plain for form in self.squeezed_forms):
                text = WITHHELD
        text = text.encode("utf-8", "replace").decode()
        return printable(" ".join(text.split()), LINE_CHARACTERS) if one_line else text


def _squeeze(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.casefold())
