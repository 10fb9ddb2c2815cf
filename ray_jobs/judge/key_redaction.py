"""Masks the judge's key in a text from an endpoint, in each form in which the endpoint may echo it.

`endpoint` calls it, in the driver, before a text is stored or logged.
"""

import base64
import re
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import quote

from ray_jobs.inputs.names import printable

MASK = "***"
MIN_CHARACTERS = 8  # characters: shorter keys are not masked, because many texts contain them by chance
WITHHELD = "(not kept: it holds the judge's key)"
LINE_CHARACTERS = 2**20


@dataclass(frozen=True)
class Secret:
    """`value` is the key itself; `str()` and `repr()` hide it."""

    value: str

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    @cached_property
    def forms(self) -> tuple[str, ...]:
        """The key, reversed, percent-encoded, in hexadecimal and in base64, the longest first."""
        data = self.value.encode()
        forms = {self.value, quote(self.value, safe=""), "".join(f"%{byte:02x}" for byte in data), data.hex()}
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            for before in range(3):  # base64 encodes three bytes at once, and the key may begin at any of the three
                text = encode(b"\0" * before + data).decode().rstrip("=")
                tail = text[-(-before * 8 // 6) :]
                # The last character may have bits of the next byte.
                forms.add(tail if (len(data) + before) % 3 == 0 else tail[:-1])
        forms |= {form[::-1] for form in forms}
        return tuple(sorted((form for form in forms if len(form) >= MIN_CHARACTERS), key=len, reverse=True))

    @cached_property
    def compact_forms(self) -> tuple[str, ...]:
        return tuple(form for form in map(_compact, self.forms) if len(form) >= MIN_CHARACTERS)

    def mask(self, text: str, one_line: bool = True) -> str:
        """The text with the key masked. With `one_line`, all characters that are not plainly visible are escaped.

        The whole text is withheld if it has the key in another case, or with other characters in between.
        """
        if len(self.value) >= MIN_CHARACTERS:
            for form in self.forms:
                text = text.replace(form, MASK)
            plain = _compact(text)
            if any(form in plain for form in self.compact_forms):
                text = WITHHELD
        text = text.encode("utf-8", "replace").decode()
        return printable(" ".join(text.split()), LINE_CHARACTERS) if one_line else text


def _compact(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.casefold())
