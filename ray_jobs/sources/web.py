"""Images at http(s) addresses. Whatever a server does, an answer comes in bounded time and bounded memory."""

import hashlib
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException, IncompleteRead
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, InvalidHeader, ReadTimeoutError
from urllib3.util.retry import Retry

from ray_jobs.data_folders import list_allowed
from ray_jobs.sources import allowed
from ray_jobs.sources.cells import printable

SCHEMES = ("http://", "https://")
BUSY = (408, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524)
SECRET = re.compile(r"(x-amz-|x-goog-|signature|sig|token|access_?key|key-pair-id|policy|expires|awsaccesskeyid)", re.I)
REDIRECTS = 10
AUTHORITIES = ("ASSAY_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


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
            except allowed.Refused as error:
                return None, _line(url, str(error))
            except (ValueError, requests.exceptions.SSLError) as error:  # a malformed address, a certificate
                return None, _line(url, _named(error))
            except _Again as error:
                detail, wait = str(error), error.wait
            except (OSError, HTTPError, HTTPException) as error:
                detail, wait = _named(error), 0.0
                if allowed.REMEDY in detail:
                    return None, _line(url, detail)
            wait = max(wait, LIMITS.backoff * 2**attempt)
            if wait >= _left():
                return None, _line(url, f"not done after {LIMITS.total:g} s: {detail}")
            if attempt < LIMITS.retries:
                time.sleep(wait)
    return None, _line(url, f"{detail} ({LIMITS.retries + 1} times)")


def _asked(url: str) -> tuple[bytes | None, str]:
    for _ in range(REDIRECTS + 1):
        if not url.lower().startswith(SCHEMES):
            return None, f"redirected to {public(url)}, which is not http"
        _check_behind_proxy(url)
        # Redirects are followed here, because requests reads their bodies to the end.
        with _session().get(url, stream=True, allow_redirects=False, timeout=(LIMITS.connect, LIMITS.read)) as response:
            if _left() <= 0:
                raise TimeoutError("timed out")
            if response.is_redirect:
                url = urljoin(url, response.headers["Location"])
                continue
            status = _status(response.status_code)
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


def _status(code: int) -> str:
    """The status in the standard's words: those of the answer may be anything."""
    with suppress(ValueError):
        return f"{code} {HTTPStatus(code).phrase}"
    return str(code)


def _asked_to_wait(response: Any) -> float:
    try:
        return min(Retry().get_retry_after(response.raw) or 0.0, LIMITS.retry_after)
    except InvalidHeader:
        return 0.0


def _named(error: BaseException) -> str:
    """What kind of error it was. Its text may hold the address with its query, or pieces of the answer."""
    inner: BaseException | None = error
    for _ in range(10):
        if isinstance(inner, allowed.Refused):
            return str(inner)
        if isinstance(inner, TimeoutError | requests.exceptions.Timeout | ReadTimeoutError | ConnectTimeoutError):
            return "timed out"
        if inner is None:
            break
        if isinstance(inner, IncompleteRead):
            return "IncompleteRead: the body is shorter than its length"
        nested = [one for one in (getattr(inner, "reason", None), *inner.args) if isinstance(one, BaseException)]
        inner = inner.__cause__ or (nested[0] if nested else inner.__context__)
    return type(error).__name__


def public(url: str) -> str:
    """The address as it is stored: scheme, host and path.

    Of a query that is more than a signature eight hex digits of its hash are kept, so that two images stay two.
    """
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:  # no address at all
        return f"{url.partition(':')[0][:10]}://an address that is none ({_digest(url)})"
    kept = [pair for pair in parts.query.split("&") if pair and not SECRET.match(pair)]
    return urlunsplit((parts.scheme, host, parts.path, _digest("&".join(kept)) if kept else "", ""))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:8]


def _line(url: str, detail: str) -> str:
    return printable(" ".join(f"{public(url)}: {detail}".split()))


def _left() -> float:
    deadline: float = _kept.deadline
    return deadline - time.monotonic()


class _Watched:
    """A connection that shows its thread's watch the socket in use."""

    _socket: socket.socket | None = None
    _addresses: list[str]  # of its host, looked up once for each connection that is made
    sock: socket.socket | None

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        self._socket = _kept.socket = self.sock

    def _new_conn(self: Any) -> socket.socket:
        """A socket to an address that was looked up once and may be connected to; TLS still asks for the name."""
        scheme = "https" if isinstance(self, HTTPSConnection) else "http"
        self._addresses = allowed.resolve(scheme, self.host, self.port, _kept.path)
        failure = OSError("no address")
        for address in self._addresses:
            try:
                made = socket.create_connection((address, self.port), LIMITS.connect)
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return made
            except OSError as error:
                failure = error
        raise failure

    def request(self: Any, method: str, url: str, *arguments: Any, **named: Any) -> None:
        """Send a request. Raises Refused where its path is not allowed, also on a connection that is kept."""
        _kept.socket = self._socket  # of an earlier image; None before the connection is made
        _kept.path = url.partition("?")[0]
        if self.sock is not None:  # else `_new_conn` checks
            scheme = "https" if isinstance(self, HTTPSConnection) else "http"
            allowed.check_addresses(self._addresses, scheme, self.host, self.port, _kept.path)
        super().request(method, url, *arguments, **named)  # type: ignore[misc]


class _Http(_Watched, HTTPConnection):
    pass


class _Https(_Watched, HTTPSConnection):
    pass


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _Https


def _session() -> Any:
    """This thread's session. One made for other allowed places has connections that may not be used any more."""
    made_for = " ".join(list_allowed()), os.environ.get("ASSAY_PROXY", "")
    if getattr(_kept, "made_for", None) != made_for:
        _kept.made_for = made_for
        _kept.session = requests.Session()
        _kept.session.trust_env = False  # no .netrc, and no proxy but the deployment's
        _kept.session.verify = next((os.environ[name] for name in AUTHORITIES if os.environ.get(name)), True)
        if made_for[1]:
            _kept.session.proxies = {"http": made_for[1], "https": made_for[1]}
        _kept.session.headers.update({"User-Agent": "assay", "Accept-Encoding": "identity"})
        for scheme in SCHEMES:
            adapter = HTTPAdapter()
            adapter.poolmanager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
            _kept.session.mount(scheme, adapter)
    return _kept.session


def _check_behind_proxy(url: str) -> None:
    """Refuse what is not allowed before a proxy is asked to connect, for its connections are not made here.

    Raises Refused. A name that only the proxy knows is left to it.
    """
    parts = urlsplit(url)
    _kept.path = parts.path
    if os.environ.get("ASSAY_PROXY") and parts.hostname:
        with suppress(OSError):
            port = parts.port or (443 if parts.scheme == "https" else 80)
            allowed.resolve(parts.scheme, parts.hostname, port, parts.path)


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
