"""A chat endpoint on 127.0.0.1 that does to each question what a test says, and remembers what it was asked."""

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
    """What to answer: a status, a body (a dict becomes JSON), headers. `hang` seconds come first; `cut` sends half of
    the body and closes, `drip` a byte every tenth of a second."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    hang: float = 0.0
    cut: bool = False
    drip: bool = False


@dataclass
class JudgeEndpoint:
    """`behave` gets the question's text and how often it was asked before. `asked` are the bodies of all requests."""

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
        """The questions that were asked more than once."""
        return {text: count for text, count in Counter(self.texts()).items() if count > 1}


def read_question(body: dict[str, Any]) -> str:
    found: str = body["messages"][1]["content"][1]["text"]
    return found


def find_caption(text: str) -> str:
    """The first text to be judged in a question."""
    found = re.search(r"<data>(.*?)</data>", text, re.DOTALL)
    assert found
    caption: str = json.loads(found[1])
    return caption


def completion(content: Any, finish: str = "stop", **message: Any) -> dict[str, Any]:
    return {
        "id": "x", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [
            {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content} | message}
        ],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }  # fmt: skip


def answer_reply(**said: Any) -> Reply:
    return Reply(body=completion(json.dumps({"rationale": "so"} | said)))


def error_reply(status: int, message: str = "no", **headers: str) -> Reply:
    """An error after which the endpoint wants another try almost at once."""
    return Reply(status, {"error": {"message": message, "type": "t", "code": None}}, {"retry-after-ms": "20"} | headers)


def error_in_success_reply(code: Any, message: str = "no", **headers: str) -> Reply:
    """An error as gateways send it that have begun to answer: with the status of success."""
    return Reply(200, {"error": {"message": message, "code": code}}, {"retry-after-ms": "20"} | headers)


def message_reply(content: Any, finish: str = "stop", **message: Any) -> Reply:
    """A completion with this content and whatever else its message has."""
    return Reply(body=completion(content, finish, **message))


def page_reply(words: str = "Sign in") -> Reply:
    body = f"<!doctype html><html><title>{words}</title></html>".encode()
    return Reply(200, body, {"Content-Type": "text/html", "retry-after-ms": "20"})


def stream_reply(*events: Any) -> Reply:
    """Server-sent events, though none were asked for."""
    lines = [f"data: {json.dumps(event)}\n\n" for event in events]
    return Reply(200, "".join([*lines, "data: [DONE]\n\n"]).encode(), {"retry-after-ms": "20"})


@contextmanager
def serve_endpoint(behave: Callable[[str, int], Reply]) -> Iterator[JudgeEndpoint]:
    told = JudgeEndpoint(behave)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            with told.lock:
                told.at_once += 1
                told.most_at_once = max(told.most_at_once, told.at_once)
            try:
                with suppress(BrokenPipeError, ConnectionResetError):
                    self._answer()
            finally:
                with told.lock:
                    told.at_once -= 1

        def _answer(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            text = read_question(body)
            with told.lock:
                told.asked.append(body)
                told.headers.append({name.lower(): value for name, value in self.headers.items()})
                before = told.counted[text]
                told.counted[text] += 1
            said = told.behave(text, before)
            time.sleep(said.hang)
            data = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
            self.send_response(said.status)
            for name, value in ({"Content-Type": "application/json"} | said.headers).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if said.cut:
                self.wfile.write(data[: len(data) // 2])
                self.close_connection = True
                return
            for byte in data if said.drip else ():
                self.wfile.write(bytes([byte]))
                time.sleep(0.1)
            if not said.drip:
                self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    told.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
