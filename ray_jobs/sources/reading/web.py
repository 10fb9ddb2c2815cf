"""Fetch images at http(s) addresses. Whatever a server does, `fetch` returns in bounded time and bounded memory.

The threads of a process that reads a source call `fetch`. One event loop of that process serves all threads with
aiohttp, so that they share its connections. Invariant: a request goes to an IP address that `allowed_places` accepted
for this request, never to a name that aiohttp would look up again.
"""

import asyncio
import atexit
import hashlib
import os
import re
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from urllib.parse import urljoin, urlsplit, urlunsplit

import aiohttp
import certifi
import requests
from aiohttp.http_exceptions import ContentEncodingError
from urllib3.exceptions import InvalidHeader
from urllib3.util.retry import Retry
from yarl import URL

from ray_jobs.sources.cells.texts import escape_unencodable
from ray_jobs.sources.reading import allowed_places

SCHEMES = ("http://", "https://")
BUSY = (408, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524)
REDIRECTED = (301, 302, 303, 307, 308)
SECRET = re.compile(r"(x-amz-|x-goog-|signature|sig|token|access_?key|key-pair-id|policy|expires|awsaccesskeyid)", re.I)
REDIRECTS = 10
AUTHORITIES = ("ASSAY_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
HEADERS = {"User-Agent": "assay", "Accept-Encoding": "identity", "Accept": "*/*"}
LOOKUPS, HOSTS, HOST_AGE_S = 32, 10_000, 60  # the most lookups at once, the most hosts remembered, and for how long


@dataclass(frozen=True)
class Limits:
    """Limits in seconds, bytes and counts. `total` bounds one image with all its retries."""

    connect: float = 10.0
    read: float = 30.0
    total: float = 120.0
    size: int = 64 * 2**20
    retries: int = 3
    backoff: float = 0.5
    retry_after: float = 30.0


LIMITS = Limits()
# Per host and port: the time of the lookup, and the addresses.
_addresses: dict[tuple[str, int], tuple[float, list[str]]] = {}


class _BusyError(Exception):
    """The server may answer another request. `wait` is the number of seconds that the server asked for."""

    def __init__(self, detail: str, wait: float) -> None:
        super().__init__(detail)
        self.wait = wait


def fetch(url: str) -> tuple[bytes | None, str]:
    """(bytes at the address, ""), or (None, the reason in one line). Raises nothing for a fault of the server."""
    try:
        loop, session = _start_session(os.getpid())
        data, detail = asyncio.run_coroutine_threadsafe(_fetch(session, url), loop).result()
    except OSError as error:  # the deployment's certificates cannot be read
        data, detail = None, _describe(error)
    return data, escape_unencodable(" ".join(f"{redact_url(url)}: {detail}".split())) if detail else ""


async def _fetch(session: aiohttp.ClientSession, url: str) -> tuple[bytes | None, str]:
    """Fetch the address. Retries busy and failing servers, broken connections and bodies that are cut short."""
    detail = "timed out"
    with suppress(TimeoutError):
        async with asyncio.timeout(LIMITS.total) as deadline:
            for attempt in range(LIMITS.retries + 1):
                wait = LIMITS.backoff * 2**attempt
                try:
                    return await _follow_redirects(session, url)
                except allowed_places.PlaceRefused as error:
                    return None, str(error)
                except (ValueError, aiohttp.ClientSSLError) as error:  # a malformed address, a certificate
                    return None, _describe(error)
                except _BusyError as error:
                    detail, wait = str(error), max(wait, error.wait)
                except (OSError, aiohttp.ClientError) as error:
                    detail = _describe(error)
                if asyncio.get_running_loop().time() + wait >= (deadline.when() or 0):
                    raise TimeoutError
                if attempt < LIMITS.retries:
                    await asyncio.sleep(wait)
            return None, f"{detail} ({LIMITS.retries + 1} times)"
    return None, f"not done after {LIMITS.total:g} s: {detail}"


async def _follow_redirects(session: aiohttp.ClientSession, url: str) -> tuple[bytes | None, str]:
    """The body, or the reason why there is none. aiohttp would follow a redirect without asking `allowed_places`."""
    for _ in range(REDIRECTS + 1):
        if not url.lower().startswith(SCHEMES):
            return None, f"redirected to {redact_url(url)}, which is not http"
        # requests quotes the address, because yarl would quote a signed query again and break its signature.
        async with await _get(session, URL(requests.Request("GET", url).prepare().url or "", encoded=True)) as response:
            if response.status in REDIRECTED and "Location" in response.headers:
                url = urljoin(url, response.headers["Location"])
                continue
            if response.status in BUSY:
                raise _BusyError(_status(response.status), _read_retry_after(response))
            return await _read_body(response) if response.status == 200 else (None, _status(response.status))
    return None, f"more than {REDIRECTS} redirects"


async def _get(session: aiohttp.ClientSession, url: URL) -> aiohttp.ClientResponse:
    """The response. Raises PlaceRefused when the process may not request the address.

    The process does not ask a proxy for such an address either. If only the proxy knows a name, the proxy decides.
    """
    timeout = aiohttp.ClientTimeout(sock_connect=LIMITS.connect, sock_read=LIMITS.read)
    if proxy := os.environ.get("ASSAY_PROXY"):
        with suppress(OSError):
            await _resolve(url)
        return await session.get(url, proxy=proxy, allow_redirects=False, timeout=timeout)
    failure: Exception = OSError("no address")
    for address in await _resolve(url):
        try:
            return await session.get(
                url.with_host(address),
                headers={"Host": url.host_port_subcomponent or ""},
                server_hostname=url.raw_host,
                allow_redirects=False,
                timeout=timeout,
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            failure = error
    _addresses.pop((url.raw_host or "", url.port or 0), None)
    raise failure


async def _resolve(url: URL) -> list[str]:
    """The IP addresses of the host, remembered for HOST_AGE_S. Raises PlaceRefused, and OSError for an unknown name."""
    host, port = url.raw_host or "", url.port or 0
    looked_up, addresses = _addresses.get((host, port), (0.0, []))
    if addresses and time.monotonic() - looked_up < HOST_AGE_S:
        allowed_places.check_addresses(addresses, url.scheme, host, port, url.raw_path)
        return addresses
    addresses = await asyncio.to_thread(allowed_places.resolve, url.scheme, host, port, url.raw_path)
    if len(_addresses) >= HOSTS:
        _addresses.clear()
    _addresses[host, port] = time.monotonic(), addresses
    return addresses


async def _read_body(response: aiohttp.ClientResponse) -> tuple[bytes | None, str]:
    data = bytearray()
    async for chunk in response.content.iter_any():  # aiohttp unpacks at most its buffer at once
        data += chunk
        if len(data) > LIMITS.size:
            return None, f"longer than {LIMITS.size} bytes"
    return bytes(data), ""


def _status(code: int) -> str:
    """The status in the words of the HTTP standard, because the answer's own words may be anything."""
    with suppress(ValueError):
        return f"{code} {HTTPStatus(code).phrase}"
    return str(code)


def _read_retry_after(response: aiohttp.ClientResponse) -> float:
    """The seconds that a busy server asks the client to wait, within the limit; 0 if it asks for none."""
    try:
        return min(Retry().parse_retry_after(response.headers.get("Retry-After", "0")), LIMITS.retry_after)
    except InvalidHeader:
        return 0.0


def _describe(error: Exception) -> str:
    """The kind of the error. The error's own text may contain a query or parts of the answer, so it is not used."""
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error.__cause__, ContentEncodingError):
        return "DecodeError"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "IncompleteRead: the body is shorter than its length"
    if isinstance(error, aiohttp.ClientSSLError):
        return "SSLError"
    return type(error).__name__ if isinstance(error, ValueError) else "ConnectionError"


def redact_url(url: str) -> str:
    """The address as Assay stores it: scheme, host and path.

    A query that is more than a signature is replaced by eight hex digits of its hash, so that two images stay distinct.
    """
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:  # not an address
        return f"{url.partition(':')[0][:10]}://an address that is none ({_digest(url)})"
    public_pairs = [pair for pair in parts.query.split("&") if pair and not SECRET.match(pair)]
    return urlunsplit((parts.scheme, host, parts.path, _digest("&".join(public_pairs)) if public_pairs else "", ""))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:8]


@cache
def _start_session(process: int) -> tuple[asyncio.AbstractEventLoop, aiohttp.ClientSession]:
    """The event loop of this process and its session. The loop runs in its own thread, which a fork does not copy.

    `process` is the process id, so that a forked process starts its own loop. The session keeps no cookies, reads no
    .netrc, and uses no proxy except the deployment's. The readers bound the number of connections.
    """
    bundle = next((os.environ[name] for name in AUTHORITIES if os.environ.get(name)), certifi.where())
    folder = os.path.isdir(bundle)
    context = ssl.create_default_context(capath=bundle if folder else None, cafile=None if folder else bundle)
    loop = asyncio.new_event_loop()
    loop.set_default_executor(ThreadPoolExecutor(LOOKUPS, thread_name_prefix="lookup"))
    threading.Thread(target=loop.run_forever, name="web", daemon=True).start()

    async def start() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(ssl=context, limit=0)
        return aiohttp.ClientSession(connector=connector, headers=HEADERS, cookie_jar=aiohttp.DummyCookieJar())

    session = asyncio.run_coroutine_threadsafe(start(), loop).result()
    atexit.register(lambda: asyncio.run_coroutine_threadsafe(session.close(), loop).result(1))
    return loop, session
