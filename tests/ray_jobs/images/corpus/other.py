"""Files that are no image here: documents, programs that draw, archives, and empty files."""

import gzip
import io
import json
import struct
import zipfile
import zlib

from .entry import File, encode_image, expect_rejected
from .jpeg import jpeg
from .pictures import scene


def icon() -> bytes:
    return encode_image(scene().resize((32, 32)), "ICO")


def zipped() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("photograph.jpg", jpeg())
    return sink.getvalue()


def dos_eps() -> bytes:
    """PostScript with a TIFF preview, behind a binary header that Pillow knows too."""
    return struct.pack("<I7I", 0xC6D3D0C5, 32, 200, 0, 0, 0, 0, 0xFFFF) + POSTSCRIPT


SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="99" height="99"><image/></svg>\n'
# Ghostscript would run this; nothing here may hand it to one.
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/tmp/executed) (w) file closefile\nshowpage\n"
PDF = b"%PDF-1.7\n1 0 obj <</Type /Catalog>> endobj\ntrailer <</Root 1 0 R>>\n%%EOF\n"
HTML = b"<!DOCTYPE html>\n<html><head><title>403 Forbidden</title></head></html>\n"
XML = b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>'
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"


def not_an_image(data: bytes) -> File:
    return expect_rejected(lambda: data, "not-an-image")


FILES: dict[str, File] = {
    "empty.jpg": expect_rejected(bytes, "empty"),
    "one-byte.jpg": not_an_image(b"\xff"),
    "zeros.jpg": not_an_image(bytes(5000)),
    "text.jpg": not_an_image(b"Two large yellow circles on the left.\n"),
    "drawing.svg": not_an_image(SVG),
    "drawing.svgz": not_an_image(gzip.compress(SVG, mtime=0)),
    "document.pdf": not_an_image(PDF),
    "drawing.eps": not_an_image(POSTSCRIPT),
    "drawing.jpg": not_an_image(POSTSCRIPT),
    "drawing-dos.eps": expect_rejected(dos_eps, "not-an-image"),
    "page.jpg": not_an_image(HTML),
    "page-with-bom.jpg": not_an_image(b"\xef\xbb\xbf" + HTML),
    "error.jpg": not_an_image(XML),
    "error.png": not_an_image(json.dumps({"error": "rate limited"}).encode()),
    "git-lfs.jpg": not_an_image(POINTER),
    "base64.jpg": not_an_image(b"data:image/jpeg;base64,/9j/4AAQSkZJRg=="),
    "archive.zip": expect_rejected(zipped, "not-an-image"),
    "compressed.jpg.gz": expect_rejected(lambda: gzip.compress(jpeg(), mtime=0), "not-an-image"),
    "deflated.jpg": expect_rejected(lambda: zlib.compress(jpeg()), "not-an-image"),
    "program.jpg": not_an_image(b"\x7fELF\x02\x01\x01" + bytes(200)),
    "table.parquet": not_an_image(b"PAR1" + bytes(100) + b"PAR1"),
    "film.webp": not_an_image(b"RIFF" + struct.pack("<I", 100) + b"AVI LIST" + bytes(96)),
    "newline-before.jpg": expect_rejected(lambda: b"\n" + jpeg(), "not-an-image"),
    # Pillow reads these; here they are not, since no camera, page or data set of photographs has them.
    "icon.ico": expect_rejected(icon, "not-an-image"),
    "plain.jp2": expect_rejected(lambda: encode_image(scene(), "JPEG2000"), "not-an-image"),
    "plain.ppm": expect_rejected(lambda: encode_image(scene(), "PPM"), "not-an-image"),
    "plain.tga": expect_rejected(lambda: encode_image(scene(), "TGA"), "not-an-image"),
}
