"""Text as the terms that n-gram metrics compare, each known by a 64-bit number that is the same in every process.

Terms follow the COCO caption tools (Stanford's PTBTokenizer with -lowerCase, then their list of punctuation dropped):
lower case, contractions split ("isn't": is, n't; "man's": man, 's), hyphenated words and numbers whole, punctuation
dropped, other symbols ($, %, emoji) a term each. Unlike theirs, each Han or kana character is a term, for no space
tells one word from the next, and brackets are dropped (lower-cased, they slip through their list).
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

SPACELESS = "\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
# Letters, digits, and the vowel signs and accents that `\w` leaves out.
LETTERS = r"\w\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u0670\u06d6-\u06ed\u0900-\u0963\u0966-\u109f\u1780-\u17d3"
IN_WORD = f"(?![{SPACELESS}])[{LETTERS}]"
TERM = re.compile(
    rf"""[{SPACELESS}]
    | \d+(?:[.,:]\d+)+
    | (?:{IN_WORD})+?(?=n['’]t(?!{IN_WORD}))
    | n['’]t(?!{IN_WORD})
    | ['’](?:s|m|d|re|ve|ll)(?!{IN_WORD})
    | (?:{IN_WORD})+(?:-(?:{IN_WORD})+)*(?:['’](?!(?:s|m|d|re|ve|ll)(?!{IN_WORD}))(?:{IN_WORD})+)*
    | \S""",
    re.VERBOSE,
)
KEPT_PUNCTUATION = "%&#@*/"
LONGEST = 64  # characters of a chunk that is worth remembering


def split_terms(text: str) -> list[str]:
    """The terms of a text, none of which holds white space."""
    return list(chain.from_iterable(_split_chunk(chunk) for chunk in text.lower().split()))


def numbers(texts: Sequence[str]) -> "tuple[np.ndarray, np.ndarray]":
    """The terms of all texts in one array of uint64, text after text, and how many each text has."""
    import numpy as np

    flat: list[int] = []
    lengths = np.empty(len(texts), np.int64)
    for index, text in enumerate(texts):
        before = len(flat)
        for chunk in text.lower().split():
            flat += _hash_chunk(chunk) if len(chunk) <= LONGEST else map(_hash_term, _split_chunk(chunk))
        lengths[index] = len(flat) - before
    return np.array(flat, np.uint64), lengths


@lru_cache(2**16)
def _hash_chunk(chunk: str) -> tuple[int, ...]:
    return tuple(map(_hash_term, _split_chunk(chunk)))


def _hash_term(term: str) -> int:
    return int.from_bytes(hashlib.blake2b(term.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _split_chunk(chunk: str) -> list[str]:
    if chunk.isascii() and chunk.isalpha():
        return [chunk]
    return [term for term in TERM.findall(chunk) if len(term) > 1 or _is_kept(term)]


def _is_kept(character: str) -> bool:
    """Letters, digits and symbols, but no punctuation, control character or stray accent."""
    return (unicodedata.category(character)[0] in "LNS" and character != "`") or character in KEPT_PUNCTUATION
