"""The ids and folder names of outputs. Each id is a hash of exactly the settings that determine the content."""

import hashlib
import json
import re
from pathlib import PurePosixPath
from typing import Any


def request_folder(token: str) -> str:
    """Returns the folder of a forced request, relative to the folder of its stage or run."""
    return f"forced/{slug(token)}"


def digest(*content: Any) -> str:
    """Returns 16 hexadecimal digits of the SHA-256 of the content as canonical JSON."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def slug(text: str) -> str:
    """Returns the text with one dash for each run of characters that a path or a run id must not contain."""
    return re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-.") or "unnamed"


def name_of(uri: str) -> str:
    """Returns the name of the object at a URI: its last path component."""
    return PurePosixPath(uri.split("://")[-1].rstrip("/")).name
