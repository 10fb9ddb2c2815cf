"""An HTTP server on 127.0.0.1 that answers as a test wants, faults included."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    then: Callable[[Any], None] | None = None
    """What to do with the handler when the body is sent: drip, say."""
    length: int | None = None
    """The length that is claimed; none when it is -1."""


@contextmanager
def serve_replies(answer: Callable[[str, int], Reply]) -> Iterator[str]:
    """Yields the address of a server. `answer` gets the path and how often it was requested, from 1."""
    counts: dict[str, int] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            counts[self.path] = counts.get(self.path, 0) + 1
            reply = answer(self.path, counts[self.path])
            try:
                if reply.status:
                    self.send_response(reply.status)
                    length = len(reply.body) if reply.length is None else reply.length
                    for name, value in (
                        reply.headers | ({"Content-Length": str(length)} if length >= 0 else {})
                    ).items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(reply.body)
                if reply.then:
                    reply.then(self)
            except OSError:  # the asker hung up, as it should
                pass
            self.close_connection |= bool(reply.then) or reply.length is not None

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
