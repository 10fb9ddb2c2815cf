"""Writes faulty image files, and the outcome that preprocessing must have for each.

    python -m demo.faulty        # remakes demo/images/faulty, expected.json included

Every file is made from a scene, except the empty file and the HTML page. So the right result of a repair is known. A
file is kept, with its repairs in `repaired`, or rejected for one reason, which names its first fault.
"""

import io
import json
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from demo import scenes

FAULTY = Path(__file__).parent / "images" / "faulty"
SCENE = {
    "count": "two",
    "colour": "yellow",
    "size": "large",
    "shape": "circle",
    "position": "left",
    "background": "navy",
}
REASONS = ("empty", "not-an-image", "truncated", "corrupt", "too-large", "too-small", "extreme-aspect")


def draw_picture() -> Image.Image:
    """Two large yellow circles on the left of a navy background."""
    return scenes.draw(SCENE, random.Random(1))


def encode(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def make_truncated_jpeg() -> bytes:
    whole = encode(draw_picture(), "JPEG", quality=90)
    return whole[: len(whole) * 6 // 10]


def make_truncated_png() -> bytes:
    whole = encode(draw_texture(), "PNG")
    return whole[: len(whole) * 6 // 10]


def make_cmyk_jpeg() -> bytes:
    return encode(draw_picture().convert("CMYK"), "JPEG", quality=90)


def make_sixteen_bit_png() -> bytes:
    """Gray with 16 bits per pixel. A careless conversion to 8 bits clips everything above 255 to white."""
    gray = draw_picture().convert("L")
    return encode(
        Image.frombytes("I;16", gray.size, b"".join(struct.pack("<H", v * 257) for v in gray.tobytes())), "PNG"
    )


def make_palette_png() -> bytes:
    """A palette whose background entry is transparent."""
    palette = draw_picture().quantize(8)
    return encode(palette, "PNG", transparency=palette.getpixel((scenes.SIDE - 1, 0)))


def make_animated_gif() -> bytes:
    """Three frames; the first is the picture, the others show the shapes elsewhere."""
    frames = [scenes.draw({**SCENE, "position": place}, random.Random(1)) for place in ("left", "right", "top")]
    return encode(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100, loop=0)


def make_rotated_jpeg() -> bytes:
    """A picture that is stored a quarter turn off, with the EXIF orientation that turns it back."""
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate by 90 degrees clockwise to show"
    return encode(draw_picture().transpose(Image.Transpose.ROTATE_90), "JPEG", quality=90, exif=exif)


def make_web_page() -> bytes:
    return b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><body>No such image.</body></html>\n"


def make_bomb() -> bytes:
    """A PNG of 70 bytes whose header claims 60000 x 60000 pixels: 10 GiB once decoded."""
    return _png(60_000, 60_000, zlib.compress(bytes(64)))


def make_corrupt_jpeg() -> bytes:
    """A Huffman table overwritten: the decoder gives up, though the file is as long as it should be."""
    data = bytearray(encode(draw_picture(), "JPEG", quality=90))
    table = data.index(b"\xff\xc4")
    data[table + 5 : table + 21] = b"\xff" * 16
    return bytes(data)


def make_corrupt_png() -> bytes:
    """Bytes flipped in the middle of the compressed pixels."""
    data = bytearray(encode(draw_texture(), "PNG"))
    middle = len(data) // 2
    for i in range(middle, middle + 64):
        data[i] ^= 0xFF
    return bytes(data)


def draw_texture() -> Image.Image:
    """The picture with noise, so that its file is long enough to be broken in the middle."""
    noise = Image.frombytes("RGB", (scenes.SIDE, scenes.SIDE), random.Random(2).randbytes(3 * scenes.SIDE**2))
    return Image.blend(draw_picture(), noise, 0.1)


def _png(width: int, height: int, pixels: bytes) -> bytes:
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", pixels), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def expect_image(*repaired: str) -> dict[str, object]:
    return {"outcome": "kept", "repaired": list(repaired)}


def expect_reject(reason: str) -> dict[str, object]:
    return {"outcome": "rejected", "reason": reason}


FILES: dict[str, tuple[Callable[[], bytes], dict[str, object]]] = {
    "animated.gif": (make_animated_gif, expect_image("first-frame")),
    "bomb.png": (make_bomb, expect_reject("too-large")),
    "cmyk.jpg": (make_cmyk_jpeg, expect_image("cmyk-to-rgb")),
    "corrupt.jpg": (make_corrupt_jpeg, expect_reject("corrupt")),
    "corrupt.png": (make_corrupt_png, expect_reject("corrupt")),
    "empty.jpg": (bytes, expect_reject("empty")),
    "html-in-disguise.jpg": (make_web_page, expect_reject("not-an-image")),
    "palette-alpha.png": (make_palette_png, expect_image("alpha-over-white")),
    "png-in-disguise.jpg": (lambda: encode(draw_picture(), "PNG"), expect_image("wrong-extension")),
    "rotated.jpg": (make_rotated_jpeg, expect_image("exif-rotated")),
    "sixteen-bit.png": (make_sixteen_bit_png, expect_image("16-bit-to-8")),
    "strip.png": (lambda: encode(draw_picture().resize((8400, 28)), "PNG"), expect_reject("extreme-aspect")),
    "tiny.png": (lambda: encode(draw_picture().resize((1, 1)), "PNG"), expect_reject("too-small")),
    "truncated.jpg": (make_truncated_jpeg, expect_reject("truncated")),
    "truncated.png": (make_truncated_png, expect_reject("truncated")),
}


def main(faulty: Path = FAULTY) -> None:
    faulty.mkdir(parents=True, exist_ok=True)
    for name, (make, _) in FILES.items():
        (faulty / name).write_bytes(make())
    expected = {name: outcome for name, (_, outcome) in FILES.items()}
    (faulty / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")
    print(f"{len(FILES)} faulty files in {faulty}")


if __name__ == "__main__":
    main()
