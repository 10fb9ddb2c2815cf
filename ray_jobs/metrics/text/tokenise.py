"""Split text into the terms that n-gram metrics compare. Each term has a 64-bit number, the same in every process.

Terms follow the COCO caption tools (Stanford's PTBTokenizer with -lowerCase, then their list of punctuation dropped).
Terms are in lower case. Contractions are split ("isn't": is, n't; "man's": man, 's). Hyphenated words and numbers stay
whole. Punctuation is dropped. Every other symbol ($, %, emoji) is a term. There are two differences from the COCO
tools. Each Han or kana character is a term, because no space separates words. Brackets are dropped, while the COCO
tools keep them, because lower-cased bracket tokens do not match their list.
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
# Letters, digits, and the vowel signs and accents that `\w` does not match.
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
TERM_PUNCTUATION = "%&#@*/"
MAX_CHARACTERS = 64  # longer chunks, in characters, are not cached


def split_terms(text: str) -> list[str]:
    """The terms of a text. No term contains white space."""
    return list(chain.from_iterable(_split_chunk(chunk) for chunk in text.lower().split()))


def number_terms(texts: Sequence[str]) -> "tuple[np.ndarray, np.ndarray]":
    """(the numbers of all terms as uint64, text after text; the number of terms of each text)."""
    import numpy as np

    flat: list[int] = []
    lengths = np.empty(len(texts), np.int64)
    for index, text in enumerate(texts):
        before = len(flat)
        for chunk in text.lower().split():
            flat += _hash_chunk(chunk) if len(chunk) <= MAX_CHARACTERS else map(_hash_term, _split_chunk(chunk))
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
    return [term for term in TERM.findall(chunk) if len(term) > 1 or _is_term(term)]


def _is_term(character: str) -> bool:
    """True for a letter, digit or symbol. False for punctuation, a control character or a single accent."""
    return (unicodedata.category(character)[0] in "LNS" and character != "`") or character in TERM_PUNCTUATION
