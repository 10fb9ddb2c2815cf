"""Check what Pillow does not check of a PNG: the checksum of each chunk, and that no pixels are missing.

`decode` calls this module in the decoder's process.
"""

import struct
import zlib

from ray_jobs.images.reject_reasons import ImageRejected

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by the colour type of the header (PNG 1.2, 4.1.1)
PALETTE = 3
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
PIECE = 1 << 20


def check(data: bytes) -> None:
    """Raise ImageRejected for a chunk with a wrong checksum or without its end, and for missing pixels.

    Pillow leaves missing pixels black. So the pixels are inflated here a second time, in pieces, and counted.
    """
    view, offset, kinds, pixels = memoryview(data), 8, set(), zlib.decompressobj()
    missing = _length(*struct.unpack_from(">IIBBxxB", data, 16))
    while offset < len(data) and b"IEND" not in kinds:
        if offset + 12 > len(data) or offset + 12 + (size := struct.unpack_from(">I", data, offset)[0]) > len(data):
            raise ImageRejected(
                "truncated", f"a chunk that begins at byte {offset} ends after the file, {len(data)} bytes"
            )
        kind, body = data[offset + 4 : offset + 8], view[offset + 8 : offset + 8 + size]
        if zlib.crc32(view[offset + 4 : offset + 8 + size]) != struct.unpack_from(">I", data, offset + 8 + size)[0]:
            raise ImageRejected("corrupt", f"the sum of the chunk {kind!r} at byte {offset} is wrong")
        if kind == b"IDAT":
            missing -= _count_inflated(pixels, body, missing)
        kinds.add(kind)
        offset += 12 + size
    if missing > 0:
        raise ImageRejected("truncated", f"{missing} bytes of pixels are missing")
    if data[25] == PALETTE and b"PLTE" not in kinds:
        raise ImageRejected("corrupt", "a palette image without a palette")


def _length(width: int, height: int, depth: int, colour: int, interlaced: int) -> int:
    """Return the bytes of all rows, each with a byte for its filter (PNG 1.2, 2.3 and 2.6)."""
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    sizes = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in passes]
    return sum(high * (1 + -(-wide * depth * CHANNELS[colour] // 8)) for wide, high in sizes if wide > 0 and high > 0)


def _count_inflated(pixels: "zlib._Decompress", body: memoryview | bytes, wanted: int) -> int:
    """Return how many bytes the next part of the stream inflates to, at most `wanted`."""
    count = 0
    while body and count < wanted:
        count += len(pixels.decompress(body, min(PIECE, wanted - count)))
        body = pixels.unconsumed_tail
    return count
