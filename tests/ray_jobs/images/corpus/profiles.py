"""ICC profiles written by hand (ICC.1:2001-04), and pictures in their values, both by the formulas of the standard."""

import struct
from functools import cache

import numpy as np
from PIL import Image

from .pictures import HEIGHT, WIDTH, grey, scene

# Rows: the XYZ of red, green and blue, adapted to D50 (sRGB, Display P3 and Adobe RGB of their specifications).
SRGB = np.array([[0.4361, 0.2225, 0.0139], [0.3851, 0.7169, 0.0971], [0.1431, 0.0606, 0.7141]])
P3 = np.array([[0.5151, 0.2412, -0.0011], [0.2920, 0.6922, 0.0419], [0.1571, 0.0666, 0.7841]])
ADOBE = np.array([[0.6097, 0.3111, 0.0195], [0.2053, 0.6257, 0.0609], [0.1492, 0.0632, 0.7446]])
D50 = np.array([0.9642, 1.0, 0.8249])
SWAPPED = SRGB[[1, 0, 2]]  # red is called green
# Every mixture of whole inks; the last ink changes fastest.
INKS = np.array([[mixture >> bit & 1 for bit in (3, 2, 1, 0)] for mixture in range(16)])


def profile(primaries: np.ndarray | None, gamma: float, space: bytes = b"RGB ", name: str = "made by hand") -> bytes:
    """A display profile: primaries and gamma for RGB, the gamma alone for grey."""
    curve = b"curv" + bytes(4) + struct.pack(">IHH", 1, round(gamma * 256), 0)
    tags = {
        b"desc": _description(name.encode()),
        b"wtpt": _xyz(D50),
    }
    if primaries is None:
        tags[b"kTRC"] = curve
    else:
        tags |= {b"rXYZ": _xyz(primaries[0]), b"gXYZ": _xyz(primaries[1]), b"bXYZ": _xyz(primaries[2])}
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    return _file(b"mntr", space, b"XYZ ", tags)


def ink_profile() -> bytes:
    """A printer's profile by its 16 full mixtures of inks, with yellow and cyan exchanged."""
    table = bytes(np.clip(lab(printed()), 0, 255).round().astype(np.uint8))
    ramp = bytes(range(256))
    matrix = struct.pack(">9i", *(65536 * np.eye(3, dtype=int)).ravel())
    tags = {
        b"desc": _description(b"inks"),
        b"wtpt": _xyz(D50),
        b"A2B0": b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + ramp * 4 + table + ramp * 3,
    }
    return _file(b"prtr", b"CMYK", b"Lab ", tags)


def printed() -> np.ndarray:
    """Red, green and blue of every mixture of whole inks, 0 or 1: linear or not is the same."""
    return np.asarray((1 - INKS[:, [2, 1, 0]]) * (1 - INKS[:, 3:]))


def bands(colours: np.ndarray, mode: str) -> Image.Image:
    """A band for each mixture."""
    row = np.repeat(255 * colours, WIDTH // len(colours), axis=0).astype(np.uint8)
    return Image.frombytes(mode, (WIDTH, HEIGHT), row.tobytes() * HEIGHT)


@cache
def seen_through(primaries: bytes, gamma: float) -> Image.Image:
    """The scene in the values of a profile (`primaries` as bytes), as a camera of that colour space stores it."""
    values = linear(np.asarray(scene()) / 255) @ SRGB @ np.linalg.inv(np.frombuffer(primaries).reshape(3, 3))
    return Image.fromarray((np.clip(values, 0, 1) ** (1 / gamma) * 255).round().astype(np.uint8))


def grey_seen_through(gamma: float) -> Image.Image:
    values = linear(np.asarray(grey()) / 255)
    return Image.fromarray((values ** (1 / gamma) * 255).round().astype(np.uint8))


def linear(values: np.ndarray) -> np.ndarray:
    """sRGB to linear light (IEC 61966-2-1)."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(linear: np.ndarray) -> np.ndarray:
    """Linear sRGB to Lab with 8 bits: L of 0 to 255, a and b around 128."""
    share = linear @ SRGB / D50
    f = np.where(share > (6 / 29) ** 3, np.cbrt(share), share / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = f.T
    return np.stack([(116 * y - 16) * 2.55, 500 * (x - y) + 128, 200 * (y - z) + 128], axis=1)


def _description(text: bytes) -> bytes:
    return b"desc" + bytes(4) + struct.pack(">I", len(text) + 1) + text + bytes(80)


def _xyz(values: np.ndarray) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))


def _file(kind: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    table, body = struct.pack(">I", len(tags)), b""
    begin = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", begin + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    size = begin + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02400000, kind, space, connection)
    head += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + table + body
