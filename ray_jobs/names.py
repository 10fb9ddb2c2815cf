"""Names and texts that come from outside, judged before anything uses them.

A checkpoint's folder names a storage key, an Airflow run, a file, a line of a log and a cell of a page. Both planes
check such a name once, where it comes in, by the strictest of these uses. Names in files that were stored earlier are
never checked: a record that was published with an odd name stays readable.
"""

import string
import unicodedata
from typing import Annotated

from pydantic import AfterValidator

from ray_jobs.errors import BadInput

LONGEST = 100  # characters: a record's file name also holds a time, two ids and an outcome, 255 bytes at most
FIRST = frozenset(string.ascii_letters + string.digits)
MARKS = "._=+@,~-"
ALLOWED = FIRST | frozenset(MARKS)
# Characters that change how a text is shown, or that cannot be shown or encoded: controls, directions, surrogates, ends
# of lines and paragraphs, unassigned ones.
HIDDEN = frozenset({"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"})


def check_name(name: str, what: str) -> str:
    """The name itself. Raises BadInput for a name that some later use cannot bear; `what` says what it names."""
    if fault := find_fault(name):
        raise BadInput(f"{what} {printable(name, 60)!r}: its name {fault}; rename the folder")
    return name


def find_fault(name: str) -> str | None:
    """What is wrong with a name, in words that follow "its name"; None when nothing is."""
    if not name:
        return "is empty"
    if name[0] not in FIRST:
        return f"begins with {_quote(name[0])}, not with an ASCII letter or digit"
    if bad := next((letter for letter in name if letter not in ALLOWED), None):
        return f"has the character {_quote(bad)}; only ASCII letters, digits and {MARKS} are allowed"
    if len(name) > LONGEST:
        return f"has {len(name)} characters, more than {LONGEST}"
    return None


def printable(text: str, at_most: int = 200) -> str:
    """The text on one line of at most so many characters, with everything that is not plainly visible escaped."""
    shown = "".join(_escape(letter) for letter in text[: at_most + 1])
    return shown if len(shown) <= at_most else f"{shown[: max(0, at_most - 3)]}..."


def _escape(letter: str) -> str:
    if unicodedata.category(letter) not in HIDDEN:
        return letter
    return letter.encode("ascii", "backslashreplace").decode() if ord(letter) > 127 else f"\\x{ord(letter):02x}"


def _quote(letter: str) -> str:
    """One character in quotes, beyond ASCII with its number: many look alike."""
    return f"'{printable(letter)}'" if ord(letter) < 128 else f"'{printable(letter)}' (U+{ord(letter):04X})"


def _validate(name: str) -> str:
    if fault := find_fault(name):
        raise ValueError(f"the name {fault}")
    return name


Name = Annotated[str, AfterValidator(_validate)]  # for pydantic models of what comes in, never of what is stored
