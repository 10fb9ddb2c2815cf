"""Puts a delay before each request to an S3 server, as a store in another building has it, and counts the requests."""

import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive"}


class SlowStore(ThreadingHTTPServer):
    """Forwards each request to `endpoint` after `delay` seconds. `requests` counts them by method and path."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, endpoint: str, delay: float) -> None:
        super().__init__(("127.0.0.1", 0), _Forwarder)
        self.host, self.delay = urlsplit(endpoint).netloc, delay
        self.requests: Counter[str] = Counter()
        self.lock = threading.Lock()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serve_slowly(endpoint: str, delay: float) -> Iterator[SlowStore]:
    """A context with a running server before `endpoint`."""
    with SlowStore(endpoint, delay) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


class _Forwarder(BaseHTTPRequestHandler):
    server: SlowStore
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self.server.lock:
            self.server.requests[f"{self.command} {self.path}"] += 1
        time.sleep(self.server.delay)
        connection = http.client.HTTPConnection(self.server.host)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, text in self.headers.items():  # the signature is over the client's own Host
            if name.lower() not in ("connection", "expect"):
                connection.putheader(name, text)
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name, text in answer.getheaders():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, text)
        if answer.getheader("Content-Length") is None:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        connection.close()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _forward
