"""Fetches from a faulty server end soon and with a reason."""

import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from image_formats import PICTURES
from reply_server import Reply, serve_replies

from ray_jobs.runtime.prefetch import prefetch
from ray_jobs.sources.reading import fetch as reading
from ray_jobs.sources.reading import web

IMAGE = PICTURES[0]


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    limits = web.Limits(connect=0.3, read=0.3, total=1.2, size=10_000, retries=2, backoff=0.01, retry_after=0.2)
    monkeypatch.setattr(web, "LIMITS", limits)


def fetch_counted(answer: Callable[[str, int], Reply]) -> tuple[bytes | None, str, int]:
    """The data, the reason why there is none, and the number of requests."""
    requests = 0

    def reply_counted(path: str, times: int) -> Reply:
        nonlocal requests
        requests += 1
        return answer(path, times)

    with serve_replies(reply_counted) as address:
        start = time.monotonic()
        data, detail = web.fetch(f"{address}/x.png")
        assert time.monotonic() - start < 15
        assert "\n" not in detail
        assert detail.startswith(f"{address}/x.png: ") is (data is None)
        return data, detail.removeprefix(f"{address}/x.png: "), requests


def drip(header: bytes = b"") -> Callable[[Any], None]:
    """One byte every tenth of a second: no timeout between bytes ever passes."""

    def then(handler: Any) -> None:
        handler.wfile.write(header)
        for _ in range(100):
            time.sleep(0.1)
            handler.wfile.write(b"x")
            handler.wfile.flush()

    return then


def test_an_image() -> None:
    assert fetch_counted(lambda *_: Reply(body=IMAGE)) == (IMAGE, "", 1)


def test_an_image_without_a_length_and_in_chunks() -> None:
    assert fetch_counted(lambda *_: Reply(body=IMAGE, length=-1)) == (IMAGE, "", 1)
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(IMAGE), IMAGE)
    assert fetch_counted(lambda *_: Reply(body=chunks, length=-1, headers={"Transfer-Encoding": "chunked"}))[0] == IMAGE


@pytest.mark.parametrize("status", [404, 403, 410, 400, 204, 206, 501])
def test_a_refusal_is_final(status: int) -> None:
    data, detail, requests = fetch_counted(lambda *_: Reply(status))
    assert (data, detail.split()[0], requests) == (None, str(status), 1)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(status: int) -> None:
    assert fetch_counted(lambda _, times: Reply(status) if times < 3 else Reply(body=IMAGE)) == (IMAGE, "", 3)
    data, detail, requests = fetch_counted(lambda *_: Reply(status))
    assert (data, detail.split()[0], detail.endswith("(3 times)"), requests) == (None, str(status), True, 3)


@pytest.mark.parametrize(("asks", "waits"), [("0.1", 0.0), ("1", 0.2), ("86400", 0.2), ("soon", 0.0)])
def test_the_wait_follows_retry_after_up_to_a_limit(asks: str, waits: float) -> None:
    start = time.monotonic()
    wait = {"Retry-After": asks}
    assert fetch_counted(lambda _, times: Reply(429, headers=wait) if times == 1 else Reply(body=IMAGE)) == (
        IMAGE,
        "",
        2,
    )
    assert waits <= time.monotonic() - start < waits + 0.5


def test_a_silent_server() -> None:
    data, detail, requests = fetch_counted(lambda *_: Reply(0, then=lambda _: time.sleep(2)))
    assert (data, "timed out" in detail.lower(), requests) == (None, True, 3)


def test_a_server_that_hangs_up_once() -> None:
    assert fetch_counted(lambda _, times: Reply(0, length=0) if times == 1 else Reply(body=IMAGE)) == (IMAGE, "", 2)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body=b"x", length=1000, then=drip()),
        Reply(body=b"x", length=-1, then=drip()),
        Reply(0, then=drip(b"HTTP/1.1 200 ")),
        Reply(0, then=drip(b"HTTP/1.1 200 OK\r\nX-Slow: ")),
    ],
    ids=["body", "body without a length", "status line", "header"],
)
def test_a_server_that_drips_is_left_at_the_deadline(reply: Reply) -> None:
    start = time.monotonic()
    data, detail, _ = fetch_counted(lambda *_: reply)
    assert data is None
    assert detail.startswith("not done after 1.2 s")
    assert 1.1 < time.monotonic() - start < 15


def endless(handler: Any) -> None:
    while True:
        handler.wfile.write(b"x" * 65536)


@pytest.mark.parametrize("status", [200, 404, 500, 302])
@pytest.mark.slow
def test_an_endless_body_is_not_read_to_its_end(status: int) -> None:
    reply = Reply(status, length=-1, then=endless, headers={"Location": "/x.png"} if status == 302 else {})
    data, detail, _ = fetch_counted(lambda *_: reply)
    messages = {
        200: "longer than 10000 bytes",
        404: "404 Not Found",
        500: r"500 Internal Server Error \(3 times\)",
        302: "more than 10 redirects|not done after 1.2 s.*",
    }
    assert data is None
    assert re.fullmatch(messages[status], detail)


def test_a_body_shorter_than_it_claims_is_never_an_image() -> None:
    data, detail, requests = fetch_counted(lambda *_: Reply(body=IMAGE[:100], length=len(IMAGE)))
    assert (data, "IncompleteRead" in detail, requests) == (None, True, 3)
    assert fetch_counted(lambda _, times: Reply(body=IMAGE, length=len(IMAGE) + (times == 1))) == (IMAGE, "", 2)


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/x", "s3://bucket/x", "gopher://x"])
def test_a_redirect_out_of_the_web_is_not_followed(target: str) -> None:
    data, detail, requests = fetch_counted(lambda *_: Reply(302, headers={"Location": target}))
    assert (data, detail, requests) == (None, f"redirected to {target}, which is not http", 1)


def test_redirects_within_the_web_are_followed_to_an_end() -> None:
    assert (
        fetch_counted(lambda path, _: Reply(body=IMAGE) if path == "/y" else Reply(301, headers={"Location": "/y"}))[0]
        == IMAGE
    )
    data, detail, requests = fetch_counted(lambda *_: Reply(301, headers={"Location": "/x.png"}))
    assert (data, detail, requests) == (None, "more than 10 redirects", 11)


@pytest.mark.parametrize("url", ["http://", "http://[::1", "http://a b/x", "http://" + "a" * 300 + ".invalid/x",
                                 "https://127.0.0.1:1/x", "http://127.0.0.1:99999/", "http://\udcff/"])  # fmt: skip
def test_an_invalid_address(url: str) -> None:
    data, detail = web.fetch(url)
    assert data is None
    assert detail.encode()
    assert "\n" not in detail


def test_a_failure_is_a_row_without_data_and_the_others_are_read() -> None:
    with serve_replies(lambda path, _: Reply(404) if path == "/3" else Reply(body=path.encode())) as address:
        rows = list(prefetch(partial(reading.fetch_place, home="/data"), (f"{address}/{n}" for n in range(9)), 4))
    assert [row.data for row in rows] == [None if number == 3 else b"/%d" % number for number in range(9)]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://user:secret@h/x.png", "http://h/x.png"),
        ("https://h/x?id=5&X-Amz-Signature=abc&X-Amz-Expires=60", "https://h/x?043e1c6f"),
        ("https://h/x?sig=abc&sv=1", "https://h/x?379522c5"),
        ("http://[::1/x", "http://an address that is none (03ca3d9e)"),
        ("http://h/a?size=3#part", "http://h/a?ae0ea9b2"),
    ],
)
def test_an_address_is_shown_without_its_secrets(url: str, message: str) -> None:
    assert web.redact_url(url) == message


def test_a_failure_does_not_show_secrets() -> None:
    _, detail = web.fetch("ftp://user:secret@h/x?token=abc")
    assert detail.startswith("ftp://h/x: ")
    assert "secret" not in detail
    assert "abc" not in detail
