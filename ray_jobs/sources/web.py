"""Images at http(s) addresses. Whatever a server does, an answer comes in bounded time and bounded memory."""

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, InvalidHeader
from urllib3.util.retry import Retry

from ray_jobs.sources.cells import printable

SCHEMES = ("http://", "https://")
BUSY = (408, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524)
SECRET = re.compile(r"(x-amz-|x-goog-|signature|sig|token|access_?key|key-pair-id|policy|expires|awsaccesskeyid)", re.I)
REDIRECTS = 10


@dataclass(frozen=True)
class Limits:
    """Seconds, bytes and counts; `total` bounds one image with all its retries."""

    connect: float = 10.0
    read: float = 30.0
    total: float = 120.0
    size: int = 64 * 2**20
    retries: int = 3
    backoff: float = 0.5
    retry_after: float = 30.0


LIMITS = Limits()
_kept = threading.local()  # a thread's session, its deadline and the socket it waits on


class _Again(Exception):
    """Asked once more, the server may answer; `wait` is what it asked for in seconds."""

    def __init__(self, detail: str, wait: float = 0.0) -> None:
        super().__init__(detail)
        self.wait = wait


def fetch(url: str) -> tuple[bytes | None, str]:
    """The bytes at the address, or None and why in one line; never an exception.

    Busy and failing servers, broken connections and bodies cut short are tried again. urllib3's own retries are not
    used: they read the body of a failure to its end, and some have none.
    """
    detail = ""
    with _watched():
        for attempt in range(LIMITS.retries + 1):
            try:
                data, detail = _asked(url)
                return data, _line(url, detail) if detail else ""
            except (ValueError, requests.exceptions.SSLError) as error:  # a malformed address, a certificate
                return None, _line(url, _named(error))
            except _Again as error:
                detail, wait = str(error), error.wait
            except (OSError, HTTPError, HTTPException) as error:
                detail, wait = _named(error), 0.0
            wait = max(wait, LIMITS.backoff * 2**attempt)
            if wait >= _left():
                return None, _line(url, f"not done after {LIMITS.total:g} s: {detail}")
            if attempt < LIMITS.retries:
                time.sleep(wait)
    return None, _line(url, f"{detail} ({LIMITS.retries + 1} times)")


def _asked(url: str) -> tuple[bytes | None, str]:
    for _ in range(REDIRECTS + 1):
        if not url.lower().startswith(SCHEMES):
            return None, f"redirected to {url}, which is not http"
        # Redirects are followed here, because requests reads their bodies to the end.
        with _session().get(url, stream=True, allow_redirects=False, timeout=(LIMITS.connect, LIMITS.read)) as response:
            if _left() <= 0:
                raise TimeoutError("timed out")
            if response.is_redirect:
                url = urljoin(url, response.headers["Location"])
                continue
            status = f"{response.status_code} {response.reason or ''}".rstrip()
            if response.status_code in BUSY:
                raise _Again(status, _asked_to_wait(response))
            return _body(response) if response.status_code == 200 else (None, status)
    return None, f"more than {REDIRECTS} redirects"


def _body(response: Any) -> tuple[bytes | None, str]:
    data = bytearray()
    while chunk := response.raw.read1(2**16, decode_content=True):
        data += chunk
        if len(data) > LIMITS.size:
            return None, f"longer than {LIMITS.size} bytes"
        if _left() <= 0:  # behind a proxy nobody watches
            raise TimeoutError("timed out")
    if _left() <= 0:  # the end may be the watch's doing
        raise TimeoutError("timed out")
    return bytes(data), ""


def _asked_to_wait(response: Any) -> float:
    try:
        return min(Retry().get_retry_after(response.raw) or 0.0, LIMITS.retry_after)
    except InvalidHeader:
        return 0.0


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:200]


def public(url: str) -> str:
    """The address without what it may hold of a secret: a user's name and password, a signature in its query."""
    try:
        parts = urlsplit(url)
    except ValueError:  # no address at all
        return url
    kept = [pair for pair in parts.query.split("&") if not SECRET.match(pair)]
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="&".join(kept)))


def _line(url: str, detail: str) -> str:
    told = public(url)
    return printable(" ".join(f"{told}: {detail.replace(url, told)}".split()))


def _left() -> float:
    deadline: float = _kept.deadline
    return deadline - time.monotonic()


class _Watched:
    """A connection that shows its thread's watch the socket in use."""

    _socket: socket.socket | None = None
    sock: socket.socket | None

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        self._socket = _kept.socket = self.sock

    def request(self, *arguments: Any, **named: Any) -> None:
        _kept.socket = self._socket  # of an earlier image; None before the connection is made
        super().request(*arguments, **named)  # type: ignore[misc]


class _Http(_Watched, HTTPConnection):
    pass


class _Https(_Watched, HTTPSConnection):
    pass


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _Https


def _session() -> Any:
    if not hasattr(_kept, "session"):
        _kept.session = requests.Session()
        _kept.session.headers.update({"User-Agent": "assay", "Accept-Encoding": "identity"})
        for scheme in SCHEMES:
            adapter = HTTPAdapter()
            adapter.poolmanager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
            _kept.session.mount(scheme, adapter)
    return _kept.session


@contextmanager
def _watched() -> Iterator[None]:
    """Shut the socket in use at the deadline: timeouts start anew with every byte that a slow server sends."""
    _kept.deadline, _kept.socket = time.monotonic() + LIMITS.total, None
    mine, over, seconds = _kept.__dict__, threading.Event(), LIMITS.total

    def watch() -> None:
        over.wait(seconds)
        while not over.wait(0.05):
            with suppress(OSError, TypeError):  # closed by now, or not there yet
                socket.socket.shutdown(mine["socket"], socket.SHUT_RDWR)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()
