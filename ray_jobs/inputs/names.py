"""Check names that come from outside, and make untrusted text printable.

The name of a checkpoint's folder becomes part of a storage key, an Airflow run id, a file name, a log line and a page.
Both planes check such a name once, when they first get it, by the strictest of these uses. Names in stored files are
never checked, so a record that was published with an odd name stays readable.
"""

import string
import unicodedata

from ray_jobs.inputs.errors import InputError

MAX_CHARACTERS = 100  # a record's file name has at most 255 bytes, and also a time, two ids and an outcome
ASCII_WORD = frozenset(string.ascii_letters + string.digits)
MARKS = "._=+@,~-"
FOLDER_MARKS = ":# "  # only in the name of a folder
INVISIBLE_LETTERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
# Categories of characters that cannot be shown or encoded, or that change how a text is shown: controls, directions,
# surrogates, ends of lines and paragraphs, unassigned characters.
HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"})


def check_name(name: str, what: str) -> str:
    """Returns the name of a folder. Raises InputError for a bad name; `what` names the folder's content in the error.

    People name folders in their own language, with spaces, `:` and `#`. Such names are allowed, because keys and run
    ids contain a slug and a fingerprint, and not the name itself.
    """
    if fault := find_name_fault(name, folder=True):
        raise InputError(f"{what} {printable(name, 60)!r}: its name {fault}; rename the folder")
    return name


def find_name_fault(name: str, folder: bool = False) -> str | None:
    """Returns the fault of a name, in words that follow "its name"; None if the name is right.

    The name of a `folder` may have letters and digits of any script. Any other name becomes part of a key as it is, so
    it may have ASCII only.
    """
    if not name:
        return "is empty"
    letters, marks = ("letters", f"{MARKS}{FOLDER_MARKS}") if folder else ("ASCII letters", MARKS)
    may_begin = name[0] in ASCII_WORD or (folder and (name[0] == "-" or _is_word(name[0])))
    if not may_begin or unicodedata.combining(name[0]):
        return f"begins with {_quote(name[0])}, not with one of the {letters} or a digit"
    if bad := next((letter for letter in name if letter not in marks and not _is_word(letter, folder)), None):
        return f"has the character {_quote(bad)}; only {letters}, digits and {marks} are allowed"
    if name.endswith(" "):
        return "ends with a space"
    if len(name) > MAX_CHARACTERS:
        return f"has {len(name)} characters, more than {MAX_CHARACTERS}"
    return None


def _is_word(letter: str, of_any_script: bool = True) -> bool:
    """Whether the character is a visible letter, accent or decimal digit."""
    if ord(letter) < 128 or not of_any_script:
        return letter in ASCII_WORD
    is_invisible = letter in INVISIBLE_LETTERS or "\ufe00" <= letter <= "\ufe0f" or letter >= "\U000e0000"
    return not is_invisible and (letter.isalpha() or letter.isdecimal() or unicodedata.category(letter)[0] == "M")


def printable(text: str, at_most: int = 200) -> str:
    """Returns the text on one line of at most `at_most` characters, with every invisible character escaped."""
    shown = "".join(_escape(letter) for letter in text[: at_most + 1])
    return shown if len(shown) <= at_most else f"{shown[: max(0, at_most - 3)]}..."


def excerpt(text: str, at_most: int) -> str:
    """Returns the beginning of a text, printable, with one space for each run of white space."""
    return printable(" ".join(text[: 4 * at_most].split()), at_most)


def _escape(letter: str) -> str:
    if unicodedata.category(letter) not in HIDDEN_CATEGORIES:
        return letter
    return letter.encode("ascii", "backslashreplace").decode() if ord(letter) > 127 else f"\\x{ord(letter):02x}"


def _quote(letter: str) -> str:
    """Returns one character in quotes. If it is not ASCII, its code follows, because many characters look alike."""
    return f"'{printable(letter)}'" if ord(letter) < 128 else f"'{printable(letter)}' (U+{ord(letter):04X})"
