"""Read the image in a cell: its bytes or its place, in every form that tables and manifests use.

The sources call this when they list a file of rows, and when they read its images.
"""

import base64
import binascii
import re
from typing import Any
from urllib.parse import unquote_to_bytes

from ray_jobs.dataset import image_formats
from ray_jobs.images.bounds import max_image_bytes
from ray_jobs.sources.cells.texts import CellFault, describe, escape_unencodable, is_bytes, is_missing, parse_container

DEEPEST = 4  # the most levels of lists and objects
MOST_PATH = 4096  # characters; the operating system's limit
MOST_URL = 65_536
LEAST_BASE64 = 60  # characters: no image is smaller
PLACES = ("path", "url", "image_url", "file_name", "filename", "uri", "image", "base64", "b64_json")
BASE64 = re.compile(r"[A-Za-z0-9+/_\-\s]+={0,2}\s*")
BASE64_IMAGES = (
    "/9j/",
    "iVBORw0KGgo",
    "R0lGOD",
    "UklGR",
    "Qk",
    "SUkq",
    "TU0AK",
    "AAAA",
)  # the first bytes of image formats, in base64
DATA_URL = re.compile(r"data:[^,]{0,200},", re.IGNORECASE)
PYTHON_BYTES = re.compile(r"b['\"].*['\"]", re.DOTALL)


def read_image(value: Any, depth: int = 0) -> bytes | str | None:
    """The bytes of an image, or its path or URL; None for an empty cell.

    Raises CellFault for any other value, and for several images, because a row has one image.
    """
    if depth > DEEPEST:
        raise CellFault("an image inside lists and objects that are nested too deep; write its bytes or its path")
    if is_bytes(value):
        return _from_bytes(bytes(value))
    if is_missing(value):
        return None
    if isinstance(value, str):
        return _from_text(value.removeprefix("\ufeff").strip(), depth)
    if isinstance(value, dict):
        return read_image(_pick_field(value), depth + 1)
    if isinstance(value, list | tuple):
        return read_image(_pick_item(value), depth + 1)
    raise CellFault(f"{describe(value)}; write a path, a URL or the bytes of a file")


def is_inline(text: str) -> bool:
    """True if a text is an image itself and not the place of an image."""
    return bool(DATA_URL.match(text))


def as_data_url(data: bytes) -> str:
    """The bytes as a `data:` URL, which `read_image` reads."""
    return f"data:;base64,{base64.b64encode(data).decode()}"


def _pick_field(struct: dict[str, Any]) -> Any:
    """The field of an object that contains the image.

    Hugging Face datasets write `{'bytes', 'path'}`. Other objects need exactly one field that is named like a place.
    """
    if "bytes" in struct or "path" in struct:
        data = struct.get("bytes")
        return struct.get("path") if data is None else data
    named = [name for name in PLACES if not is_missing(struct.get(name))]
    if len(named) != 1:
        raise CellFault(f"{describe(struct)}; write the bytes of a file, a path or a URL")
    return struct[named[0]]


def _pick_item(images: list[Any] | tuple[Any, ...]) -> Any:
    there = [image for image in images if is_bytes(image) or not is_missing(image)]
    if (
        there
        and all(isinstance(item, int | float | list | tuple) for item in there)
        and (len(there) > 1 or isinstance(there[0], int | float))
    ):
        raise CellFault(
            f"a list of {len(there)} numbers or lists, as raw pixels; write the bytes of a PNG or JPEG file"
        )
    if len(there) > 1:
        raise CellFault(f"{len(there)} images in one row; give each image a row")
    return there[0] if there else None


def _from_bytes(data: bytes) -> bytes | str:
    """The bytes, or the text in them, because some writers make every column binary."""
    head = data[:16]
    if not head.isascii() or not head.decode().isprintable():
        return data
    if len(data) <= MOST_PATH and data.lower().endswith(tuple(suffix.encode() for suffix in image_formats.SUFFIXES)):
        text = data.decode("utf-8", "replace")
        return text if text.isprintable() and "\ufffd" not in text else data
    if head.lower().startswith(b"data:") or head.decode().startswith(BASE64_IMAGES):
        try:
            return _decode_inline(data.decode("ascii")) or data
        except UnicodeDecodeError:
            return data
    return data


def _from_text(text: str, depth: int) -> bytes | str | None:
    if (inline := _decode_inline(text)) is not None:
        return inline
    if PYTHON_BYTES.fullmatch(text):
        raise CellFault("bytes written out as Python text (b'...'); write them as bytes or base64")
    if text.startswith(("[", "{")) and (container := parse_container(text)) is not None:
        return read_image(container, depth + 1)
    most = MOST_URL if text[:8].lower().startswith(("http://", "https://")) else MOST_PATH
    if len(text) > most:
        raise CellFault(f"a text of {len(text)} characters, neither a path nor an image in base64")
    return escape_unencodable(text)


def _decode_inline(text: str) -> bytes | None:
    """The bytes of a `data:` URL, or of base64 text that is an image; None for any other text."""
    match = DATA_URL.match(text)
    if not match and not (
        len(text) >= LEAST_BASE64 and text.startswith(BASE64_IMAGES) and BASE64.fullmatch(text) and "." not in text
    ):
        return None
    if len(text) > max_image_bytes() * 4 // 3 + 300:
        raise CellFault(f"over {max_image_bytes()} bytes in base64; ASSAY_MAX_IMAGE_MB may allow more")
    written = text[match.end() :] if match else text
    if match and ";base64" not in match[0].lower():
        return unquote_to_bytes(written)
    data = _from_base64(written)
    if data is None and match:
        raise CellFault("a data URL that is no base64; write the image again")
    return data if match or (data is not None and _begins_like_an_image(data)) else None


def _begins_like_an_image(data: bytes) -> bool:
    """True if decoded base64 begins like an image. A long path may consist of base64's letters only."""
    if data[:2] == b"BM":
        return int.from_bytes(data[2:6], "little") == len(data)
    if data[:3] == b"\xff\xd8\xff":
        return data[3:4] >= b"\xc0"
    signs = (b"\x89PNG", b"GIF8", b"RIFF", b"II*\0", b"MM\0*")
    return data.startswith(signs) or data[4:8] == b"ftyp"


def _from_base64(text: str) -> bytes | None:
    packed = re.sub(r"\s", "", text.translate(str.maketrans("-_", "+/"))).rstrip("=")
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
