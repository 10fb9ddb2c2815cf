"""An endpoint's reply is bounded in bytes and in time, and ends in a failure of the judge, never in an exception."""

import gzip
import json
import socket
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from judge_endpoint import KEY

from ray_jobs.contract.sections.judge import Judge
from ray_jobs.judge.endpoint import Reply, connect
from ray_jobs.judge.exchange import ANSWER_BYTES

SECONDS = 2.0
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
GOOD = json.dumps({"choices": [{"message": {"content": '{"rationale": "x", "score": 5}'}}]}).encode()
Send = Callable[[socket.socket], None]


def full_reply(body: bytes, *headers: bytes, length: int | None = None) -> Send:
    lines = b"".join(
        line + b"\r\n" for line in (b"Content-Length: %d" % (len(body) if length is None else length), *headers)
    )
    return lambda connection: connection.sendall(OK + lines + b"\r\n" + body)


def endless(connection: socket.socket) -> None:
    connection.sendall(CHUNKED)
    while True:
        connection.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")


def endless_without_length(connection: socket.socket) -> None:
    connection.sendall(OK + b"Connection: close\r\n\r\n")
    while True:
        connection.sendall(b" " * 65536)


def send_slowly(first: bytes) -> Send:
    def send(connection: socket.socket) -> None:
        connection.sendall(first)
        while True:
            time.sleep(0.2)
            connection.sendall(b"x")

    return send


def slow_chunks(connection: socket.socket) -> None:
    connection.sendall(CHUNKED)
    while True:
        time.sleep(0.2)
        connection.sendall(b"1\r\n \r\n")


def endless_headers(connection: socket.socket) -> None:
    connection.sendall(OK)
    while True:
        connection.sendall(b"X-More: " + b"y" * 1000 + b"\r\n")


def endless_interim(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"HTTP/1.1 102 Processing\r\n\r\n" * 100)


def silence(connection: socket.socket) -> None:
    time.sleep(30)


def close(connection: socket.socket) -> None:
    connection.close()


ZIPPED = gzip.compress(b" " * 50 * 2**20)
DEEP = b'{"choices": ' + b"[" * 100_000
BOMBS: dict[str, tuple[Send, set[str]]] = {
    "gzip": (full_reply(ZIPPED, b"Content-Encoding: gzip"), {"no-completion"}),
    "gzip twice": (full_reply(gzip.compress(ZIPPED), b"Content-Encoding: gzip, gzip"), {"no-completion"}),
    "deflate": (full_reply(zlib.compress(b" " * 50 * 2**20), b"Content-Encoding: deflate"), {"no-completion"}),
    "brotli": (full_reply(b"x", b"Content-Encoding: br"), {"no-completion"}),
    "zstd": (full_reply(b"x", b"Content-Encoding: zstd"), {"no-completion"}),
    "gzip in capitals": (full_reply(ZIPPED, b"Content-Encoding: GZIP"), {"no-completion"}),
    "good but zipped": (full_reply(gzip.compress(GOOD), b"Content-Encoding: gzip"), {"no-completion"}),
    "long": (full_reply(b" " * (ANSWER_BYTES + 1)), {"no-completion"}),
    "long and good": (full_reply(GOOD + b" " * ANSWER_BYTES), {"no-completion"}),
    "endless": (endless, {"no-completion"}),
    "endless without a length": (endless_without_length, {"no-completion"}),
    "slow status": (send_slowly(b"HTTP"), {"timeout", "connection-error"}),
    "slow headers": (send_slowly(OK + b"X-Slow: "), {"timeout"}),
    "slow body": (send_slowly(OK + b"Content-Length: 100000\r\n\r\n"), {"timeout"}),
    "slow chunks": (slow_chunks, {"timeout"}),
    "endless headers": (endless_headers, {"connection-error", "timeout"}),
    "endless interim answers": (endless_interim, {"connection-error", "timeout"}),
    "silence": (silence, {"timeout"}),
    "closed": (close, {"connection-error"}),
    "cut short": (full_reply(GOOD, length=10_000), {"connection-error", "timeout"}),
    "no HTTP": (lambda connection: connection.sendall(b"SSH-2.0-x\r\n\r\n"), {"connection-error"}),
    "deep": (full_reply(DEEP), {"no-completion"}),
    "a number of 5,000 digits": (full_reply(b'{"choices": ' + b"9" * 5000 + b"}"), {"no-completion"}),
    "not a number": (full_reply(b'{"choices": NaN}'), {"no-completion"}),
    "not UTF-8": (full_reply(b"\xff\xfe\x00"), {"no-completion"}),
    "empty": (full_reply(b""), {"no-completion"}),
    "null": (full_reply(b"null"), {"no-completion"}),
    "a list": (full_reply(b"[]"), {"no-completion"}),
    "no choices": (full_reply(b'{"choices": []}'), {"no-completion"}),
    "choices of another kind": (full_reply(b'{"choices": {"0": 1}}'), {"no-completion"}),
    "a message of another kind": (full_reply(b'{"choices": [{"message": "x"}]}'), {"no-completion"}),
    "content of another kind": (full_reply(b'{"choices": [{"message": {"content": [1]}}]}'), {"invalid-answer"}),
    "an encoding that takes minutes": (
        full_reply(b"x" * 10**6, b"Content-Type: application/json; charset=punycode"), {"no-completion"}),
    "an encoding of bytes": (full_reply(GOOD[:-1], b"Content-Type: application/json; charset=zip"), {"no-completion"}),
}  # fmt: skip


@contextmanager
def serve_bytes(send: Send) -> Iterator[str]:
    """A server of raw bytes on 127.0.0.1."""
    listening = socket.create_server(("127.0.0.1", 0))
    open_ones: list[socket.socket] = []

    def answer(connection: socket.socket) -> None:
        with suppress(OSError):
            connection.recv(65536)
            send(connection)
            connection.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                open_ones.append(connection)
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    finally:
        for connection in (listening, *open_ones):
            connection.close()


def ask(url: str) -> Reply:
    import asyncio

    judge = Judge(kind="openai", model="m", base_url=url, timeout_seconds=SECONDS, tries=1)

    async def once() -> Reply:
        endpoint = connect(judge)
        async with endpoint.client:
            return await endpoint.ask("is it?", b"\xff\xd8", is_pair=False)

    return asyncio.run(once())


@pytest.mark.slow
@pytest.mark.parametrize(("send", "failures"), BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_is_a_failure_of_the_judge(send: Send, failures: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_JUDGE_KEY", KEY)
    with serve_bytes(send) as url:
        ask(url)  # imports and setup at the first question do not count
        tracemalloc.start()
        reply = ask(url)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert reply.failure in failures
    assert reply.text is None
    assert most < 24 * 2**20
    assert reply.detail is None or (reply.detail.isprintable() and len(reply.detail) <= 300)


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_no_proxy_is_asked(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_JUDGE_KEY", KEY)
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with serve_bytes(full_reply(GOOD)) as url:
        assert ask(url).failure is None
