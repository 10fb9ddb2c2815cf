"""A stand-in for the pages' server: the committed bundle, its shell with its policy, and answers of its own.

It answers in the shapes of the real routes, which tests of their own hold; here the browser's side is looked at, with
texts and a number of images that no demo has.
"""

import json
import struct
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import page_answers as answers
from built_pages import STATIC

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
)
SHELL = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Assay</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<link rel="stylesheet" href="static/app.css"></head><body><div id="app"></div>
<script type="module" src="static/app.js"></script></body></html>"""
# What Airflow 3.3 puts around a plugin's page.
FRAME = """<!doctype html><html lang="en"><head><title>Airflow</title><link rel="icon" href="data:,"></head><body>
<iframe title="Assay" width="1200" height="800" src="assay/?page=explorer&amp;right=x"
sandbox="allow-scripts allow-same-origin allow-forms allow-downloads"></iframe></body></html>"""
TYPES = {"js": "text/javascript", "css": "text/css", "txt": "text/plain"}


def draw_png() -> bytes:
    """A red picture of 8 x 8 pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = (b"\0" + b"\xd0\x20\x20" * 8) * 8
    header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


class PagesServer:
    """`url` is the pages' address below a prefix, as behind a reverse proxy; `questions` are the API's, in order."""

    def __init__(self) -> None:
        self.questions: list[tuple[str, dict[str, list[str]]]] = []
        self.failing: dict[str, tuple[int, str]] = {}  # route -> status and line
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer._answer(self)

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.url = f"{self.origin}/team/a/assay/"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> "PagesServer":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def last_question(self, route: str) -> dict[str, list[str]]:
        return next(query for path, query in reversed(self.questions) if path == route)

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        address = urlsplit(request.path)
        path = address.path.removeprefix("/team/a/")
        query = parse_qs(address.query)
        if path == "":
            self._send(request, 200, "text/html", FRAME.encode())
        elif path == "assay/":
            self._send(request, 200, "text/html", SHELL.encode(), {"Content-Security-Policy": POLICY})
        elif path.startswith("assay/static/"):
            name = path.rsplit("/", 1)[1]
            self._send(request, 200, TYPES[name.rsplit(".", 1)[1]], (STATIC / name).read_bytes())
        else:
            self._answer_question(request, path.removeprefix("assay/api/"), query)

    def _answer_question(self, request: BaseHTTPRequestHandler, route: str, query: dict[str, list[str]]) -> None:
        self.questions.append((route, query))
        if route in self.failing:
            status, line = self.failing[route]
            self._send(request, status, "application/json", json.dumps({"detail": line}).encode())
        elif route == "image":
            self._send(request, 200, "image/png", draw_png(), {"X-Content-Type-Options": "nosniff"})
        elif route == "pairs.csv":
            self._send(request, 200, "text/csv", b"key\n")
        elif (body := self._body_of(route, query)) is not None:
            self._send(request, 200, "application/json", json.dumps(body).encode())
        else:
            self._send(request, 404, "application/json", b'{"detail": "no such route"}')

    def _body_of(self, route: str, query: dict[str, list[str]]) -> dict[str, Any] | None:
        if route == "suites":
            return {"suites": [{"name": "demo", "runs": 4, "newest": "2026-12-01T00:00:00Z"}]}
        if route == "checkpoints":
            return answers.answer_checkpoints()
        if route == "run":
            return answers.answer_run()
        if route == "compare":
            return answers.answer_compare()
        if route == "histogram":
            return answers.answer_histogram(query["metric"][0])
        if route == "pairs":
            total = 37 if "q" in query else answers.IMAGES
            return answers.answer_pairs(int(query["offset"][0]), int(query["limit"][0]), total)
        return None

    def _send(
        self, request: BaseHTTPRequestHandler, status: int, kind: str, body: bytes, more: dict[str, str] | None = None
    ) -> None:
        request.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(more or {})}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)
