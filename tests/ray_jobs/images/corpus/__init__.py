"""Hostile and odd image files, made by real encoders and by surgery on their bytes, and how each must end.

from images import corpus        # with tests/ray_jobs on the path, as pytest has it there
corpus.FILES["cut-50.jpg"].make()
corpus.write(folder)
"""

import json
from pathlib import Path
from typing import Any

from . import bitmap, heif, jpeg, other, png, tiff, web
from .entry import File

GROUPS = (jpeg.FILES, png.FILES, web.FILES, bitmap.FILES, tiff.FILES, heif.FILES, other.FILES)
FILES: dict[str, File] = {name: file for group in GROUPS for name, file in group.items()}


def write(folder: Path) -> dict[str, dict[str, Any]]:
    """Every file of the corpus, and `expected.json`, in a folder. Returns what that says: how each name must end.

    {"outcome": "kept", "repairs": [...]} or {"outcome": "rejected", "reasons": [...]}, any one of them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, file in FILES.items():
        (folder / name).write_bytes(file.make())
    expected = {name: file.expected() for name, file in FILES.items()}
    (folder / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")
    return expected
