"""An S3 server on 127.0.0.1 that lies: a key's `Behaviour` says how its objects are answered for.

It knows just as much of S3 as `ray_jobs.storage.objects` asks of it, and checks no signature.
"""

import hashlib
import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, unquote


@dataclass
class Behaviour:
    """How one object is answered for. `cut`: bytes after which the body of each of the first `cuts` answers ends."""

    data: bytes = b""
    cut: int | None = None
    cuts: int = 1
    length: bool = True
    head_length: bool = True
    stated: int | None = None
    etag: str | None = None
    etag_later: str | None = None
    pause: float = 0.0
    endless: bool = False
    ranges: str = "honoured"  # or ignored, shifted
    if_match: bool = True
    error: tuple[int, str] | None = None
    errors: int = 1_000_000
    extra: dict[str, str] = field(default_factory=dict)


class LyingServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, Behaviour] = {}
        self.asked: Counter[str] = Counter()
        self.honours_condition = True
        self.loses_answers = 0
        self.lock = threading.Lock()

    @property
    def variables(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.server_address[1]}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "secret-of-the-test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }


@contextmanager
def running() -> Iterator[LyingServer]:
    server = LyingServer()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: LyingServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    @property
    def key(self) -> str:
        return self.path.partition("?")[0].split("/", 2)[-1]

    def do_HEAD(self) -> None:
        behaviour = self._kept()
        if behaviour is None:
            return
        self.send_response(200)
        self.send_header("ETag", f'"{self._etag(behaviour)}"')
        if behaviour.head_length:
            self.send_header("Content-Length", str(len(behaviour.data)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def _list(self) -> None:
        query = parse_qs(self.path.partition("?")[2])
        prefix = query.get("prefix", [""])[0]
        keys = sorted(unquote(key) for key in self.server.objects)
        rows = "".join(
            f"<Contents><Key>{quote(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            f"<Size>{len(self.server.objects[quote(key)].data)}</Size>"
            f'<ETag>"{self._etag(self.server.objects[quote(key)])}"</ETag></Contents>'
            for key in keys
            if key.startswith(prefix)
        )
        body = f"<ListBucketResult><EncodingType>url</EncodingType>{rows}</ListBucketResult>".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        if "list-type=2" in self.path:
            return self._list()
        behaviour = self._kept()
        if behaviour is None:
            return None
        etag, data, start = self._etag(behaviour), behaviour.data, 0
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if behaviour.if_match and self.headers.get("If-Match", f'"{etag}"') != f'"{etag}"':
            return self._fail(412, "PreconditionFailed")
        if wanted and behaviour.ranges != "ignored":
            start = int(wanted[1])
            if start >= len(data):
                return self._fail(416, "InvalidRange")
            data = data[start : int(wanted[2]) + 1 if wanted[2] else None]
            self.send_response(206)
            shift = start + (3 if behaviour.ranges == "shifted" else 0)
            self.send_header("Content-Range", f"bytes {shift}-{shift + len(data) - 1}/{len(behaviour.data)}")
        else:
            self.send_response(200)
        self.send_header("ETag", f'"{etag}"')
        for name, value in behaviour.extra.items():
            self.send_header(name, value)
        if behaviour.length:
            self.send_header("Content-Length", str(behaviour.stated if behaviour.stated is not None else len(data)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        return self._send(behaviour, data)

    def _send(self, behaviour: Behaviour, data: bytes) -> None:
        if behaviour.cut is not None and self.server.asked[f"GET {self.key}"] <= behaviour.cuts:
            data = data[: behaviour.cut]
        try:
            if behaviour.pause:
                for byte in data:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    threading.Event().wait(behaviour.pause)  # a test may have made time.sleep return at once
            else:
                self.wfile.write(data)
            while behaviour.endless:
                self.wfile.write(b"x" * 65536)
        except OSError:
            pass  # the reader has had enough

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Transfer-Encoding") or "aws-chunked" in self.headers.get("Content-Encoding", ""):
            raise AssertionError("the test server does not decode chunks")
        with self.server.lock:
            self.server.asked[f"PUT {self.key}"] += 1
            behaviour = self.server.objects.get(self.key)
            if behaviour and behaviour.error:
                return self._fail(*behaviour.error)
            if behaviour and self.server.honours_condition and self.headers.get("If-None-Match") == "*":
                return self._fail(412, "PreconditionFailed")
            self.server.objects[self.key] = Behaviour(data)
            loses, self.server.loses_answers = self.server.loses_answers > 0, max(0, self.server.loses_answers - 1)
        if loses:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return None
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.md5(data).hexdigest()}"')
        self.send_header("Content-Length", "0")
        self.end_headers()
        return None

    def do_DELETE(self) -> None:
        self.server.objects.pop(self.key, None)
        self.send_response(204)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _kept(self) -> Behaviour | None:
        with self.server.lock:
            self.server.asked[f"{self.command} {self.key}"] += 1
        behaviour = self.server.objects.get(self.key)
        if behaviour is None:
            self._fail(404, "NoSuchKey")
        elif behaviour.error and self.server.asked[f"{self.command} {self.key}"] <= behaviour.errors:
            self._fail(*behaviour.error)
            return None
        return behaviour

    def _etag(self, behaviour: Behaviour) -> str:
        if behaviour.etag_later and self.server.asked[f"GET {self.key}"] > 1:
            return behaviour.etag_later
        return behaviour.etag or hashlib.md5(behaviour.data).hexdigest()

    def _fail(self, status: int, code: str) -> None:
        body = b"" if self.command == "HEAD" else f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/xml")
        self.end_headers()
        self.wfile.write(body)
