"""Makes untrusted text safe to show: no character hides text, reverses the line or fills the page.

The report, the page of the checks and the previews of a golden set call this. Templates escape HTML; this module
treats the characters that HTML escaping leaves as they are.
"""

import unicodedata
from dataclasses import dataclass

CAPTION_CHARACTERS, NAME_CHARACTERS = 600, 120
JOINERS = "\u200c\u200d"  # emoji and some scripts are not readable without them
MAX_MARKS = 4  # combining marks on one character; more of them pile up over the lines above


@dataclass(frozen=True)
class DisplayText:
    """The `text` to show. If it was cut, `note` says how much of it is shown; else `note` is empty."""

    text: str
    note: str = ""


def sanitise(text: str, most: int = CAPTION_CHARACTERS) -> DisplayText:
    """Returns the text with visible control characters, cut after `most` characters."""
    note = f"{most} of {len(text):,} characters" if len(text) > most else ""
    return DisplayText(_make_visible(text[:most]), note)


def sanitise_name(text: str) -> str:
    """Returns a name on one line, with visible control characters. A cut name ends with an ellipsis."""
    shown = sanitise(" ".join(text.split()), NAME_CHARACTERS)
    return shown.text + ("…" if shown.note else "")


def _make_visible(text: str) -> str:
    letters, marks = [], 0
    for character in text:
        category = unicodedata.category(character)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if marks <= MAX_MARKS:
            letters.append(_replace_hidden(character, category))
    return "".join(letters)


def _replace_hidden(character: str, category: str) -> str:
    if character in "\n\t" or character in JOINERS:
        return character
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)  # the picture of the control character
    if category in ("Cc", "Cf", "Cs", "Zl", "Zp") or (category == "Cn" and code & 0xFFFE == 0xFFFE):
        return f"⟨U+{code:04X}⟩"
    return character
