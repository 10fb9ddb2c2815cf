"""A chat endpoint on 127.0.0.1 that answers each question as a test wants, and records the requests."""

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-very-secret-0123456789"


@dataclass(frozen=True)
class Reply:
    """A reply: a status, a body (a dict becomes JSON), headers. The server first sleeps `hang` seconds. `cut` sends
    half of the body and closes; `drip` sends one byte every tenth of a second."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    hang: float = 0.0
    cut: bool = False
    drip: bool = False


@dataclass
class JudgeEndpoint:
    """`behave` gets the question's text and how often it came before. `asked` are the bodies of all requests."""

    behave: Callable[[str, int], Reply]
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    counted: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    def texts(self) -> list[str]:
        return [read_question(body) for body in self.asked]

    def again(self) -> dict[str, int]:
        """The questions that came more than once, each with its count."""
        return {text: count for text, count in Counter(self.texts()).items() if count > 1}


def read_question(body: dict[str, Any]) -> str:
    text: str = body["messages"][1]["content"][1]["text"]
    return text


def find_caption(text: str) -> str:
    """The first text to be judged in a question."""
    match = re.search(r"<data>(.*?)</data>", text, re.DOTALL)
    assert match
    caption: str = json.loads(match[1])
    return caption


def completion(content: Any, finish: str = "stop", **message: Any) -> dict[str, Any]:
    return {
        "id": "x", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [
            {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content} | message}
        ],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }  # fmt: skip


def answer_reply(**fields: Any) -> Reply:
    return Reply(body=completion(json.dumps({"rationale": "so"} | fields)))


def error_reply(status: int, message: str = "no", **headers: str) -> Reply:
    """An error whose `retry-after-ms` asks for another try almost at once."""
    return Reply(status, {"error": {"message": message, "type": "t", "code": None}}, {"retry-after-ms": "20"} | headers)


def error_in_success_reply(code: Any, message: str = "no", **headers: str) -> Reply:
    """An error with the status of success, as gateways send it that have begun to answer."""
    return Reply(200, {"error": {"message": message, "code": code}}, {"retry-after-ms": "20"} | headers)


def message_reply(content: Any, finish: str = "stop", **message: Any) -> Reply:
    """A completion with this content and these further keys of its message."""
    return Reply(body=completion(content, finish, **message))


def page_reply(words: str = "Sign in") -> Reply:
    body = f"<!doctype html><html><title>{words}</title></html>".encode()
    return Reply(200, body, {"Content-Type": "text/html", "retry-after-ms": "20"})


def stream_reply(*events: Any) -> Reply:
    """Server-sent events, although the request asks for none."""
    lines = [f"data: {json.dumps(event)}\n\n" for event in events]
    return Reply(200, "".join([*lines, "data: [DONE]\n\n"]).encode(), {"retry-after-ms": "20"})


@contextmanager
def serve_endpoint(behave: Callable[[str, int], Reply]) -> Iterator[JudgeEndpoint]:
    endpoint = JudgeEndpoint(behave)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            with endpoint.lock:
                endpoint.at_once += 1
                endpoint.most_at_once = max(endpoint.most_at_once, endpoint.at_once)
            try:
                with suppress(BrokenPipeError, ConnectionResetError):
                    self._answer()
            finally:
                with endpoint.lock:
                    endpoint.at_once -= 1

        def _answer(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            text = read_question(body)
            with endpoint.lock:
                endpoint.asked.append(body)
                endpoint.headers.append({name.lower(): value for name, value in self.headers.items()})
                before = endpoint.counted[text]
                endpoint.counted[text] += 1
            reply = endpoint.behave(text, before)
            time.sleep(reply.hang)
            data = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in ({"Content-Type": "application/json"} | reply.headers).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if reply.cut:
                self.wfile.write(data[: len(data) // 2])
                self.close_connection = True
                return
            for byte in data if reply.drip else ():
                self.wfile.write(bytes([byte]))
                time.sleep(0.1)
            if not reply.drip:
                self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    endpoint.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
