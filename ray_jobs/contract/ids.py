"""The ids and names that outputs are found by. Every id is a hash of exactly what determines the content it names."""

import hashlib
import json
import re
from pathlib import PurePosixPath
from typing import Any


def forced_folder(token: str) -> str:
    """Where below its stage or run a forced request makes its parts or results, and its own manifest or verdict."""
    return f"forced/{slug(token)}"


def digest(*content: Any) -> str:
    """16 hex digits of the SHA-256 of the content as canonical JSON."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def slug(text: str) -> str:
    """`text` with every run of characters that a path or a run id dislikes replaced by one dash."""
    return re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-.") or "unnamed"


def name_of(uri: str) -> str:
    """The name people call the thing at a URI by: its last path component."""
    return PurePosixPath(uri.split("://")[-1].rstrip("/")).name
