"""Sends one request to an endpoint, bounded in size and time, and to no other host.

The `openai` package sends all requests through `BoundedClient`, in the driver. The client follows no redirect, and
reads no .netrc. It uses no proxy except the deployment's (ASSAY_PROXY), and trusts the authorities of ASSAY_CA_BUNDLE
if that is set. It takes no compressed answer, because a small one may unpack to gigabytes. It gives up after
ANSWER_BYTES, or after the judge's timeout for headers and body together. An answer that is no completion gets the
status that it should have had. So the package waits and tries again as after any other error.
"""

import asyncio
import json
import os
import ssl
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai

from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.names import printable
from ray_jobs.judge.completion import NoCompletion, is_quota_empty, parse_completion
from ray_jobs.judge.destination import PORTS
from ray_jobs.sources.reading import allowed_places

ANSWER_BYTES = 2**20
NO_COMPLETION_KEY, LOCATION_KEY = "no_completion", "location"  # keys of a response's extensions


class BoundedClient(openai.DefaultAsyncHttpxClient):
    """An HTTP client whose timeout bounds the whole exchange, also if the endpoint sends single bytes slowly."""

    def __init__(self, seconds: float, base_url: str) -> None:
        """Raises InputError if the deployment's proxy or certificates cannot be used."""
        super().__init__(
            timeout=seconds,
            limits=httpx2.Limits(max_connections=None),
            follow_redirects=False,
            trust_env=False,
            verify=_load_ssl_context(),
            proxy=find_proxy(base_url),
        )
        self.seconds = seconds

    async def send(self, request: httpx2.Request, **settings: Any) -> httpx2.Response:
        request.headers["Accept-Encoding"] = "identity"
        settings |= {"stream": True, "follow_redirects": False}
        try:
            async with asyncio.timeout(self.seconds):
                response = await super().send(request, **settings)
                try:
                    body = await _read_body(response)
                finally:
                    await response.aclose()
        except TimeoutError:
            raise httpx2.ReadTimeout(f"no whole answer in {self.seconds:g} s", request=request) from None
        # The body is always decoded as UTF-8, because some of Python's codecs take minutes per MB.
        retry_headers = {
            name: value for name, value in response.headers.items() if name in ("retry-after", "retry-after-ms")
        }
        headers = retry_headers | {"content-type": "application/json"}
        status, text = response.status_code, body.decode("utf-8", "replace")
        extensions: dict[str, Any] = {}
        if response.is_redirect:
            extensions[LOCATION_KEY] = response.headers.get("location", "")
        if response.is_success:
            try:
                parse_completion(text)
            except NoCompletion as nothing:
                status, extensions[NO_COMPLETION_KEY] = nothing.status or 500, nothing
        if is_quota_empty(text):
            headers["x-should-retry"] = "false"
        return httpx2.Response(status, headers=headers, content=body, request=request, extensions=extensions)


def find_proxy(base_url: str) -> httpx2.Proxy | None:
    """The deployment's proxy; None if requests go to the endpoint directly. Raises InputError if it is no address.

    As for images, requests to an address that is not public go there directly, unless ASSAY_SOURCES allows the address.
    If the name does not resolve here, the proxy resolves it.
    """
    proxy = os.environ.get("ASSAY_PROXY", "").strip()
    if not proxy:
        return None
    try:
        parsed = httpx2.Proxy(proxy)
        if parsed.url.scheme not in PORTS or not parsed.url.host:
            raise ValueError
    except (ValueError, httpx2.InvalidURL):  # the error's text has the proxy's password
        raise InputError("ASSAY_PROXY: not a proxy's address; write http://host:port") from None
    parts = urlsplit(base_url)
    with suppress(OSError):
        try:
            allowed_places.resolve(parts.scheme, parts.hostname or "", parts.port or PORTS[parts.scheme], parts.path)
        except allowed_places.PlaceRefused:
            return None
    return parsed


def _load_ssl_context() -> ssl.SSLContext:
    """The trusted certificates: of ASSAY_CA_BUNDLE, else of SSL_CERT_FILE, else the default ones."""
    bundle = os.environ.get("ASSAY_CA_BUNDLE", "").strip()
    if not bundle:
        return httpx2.create_ssl_context(trust_env=True)
    try:
        if os.path.isdir(bundle):
            return ssl.create_default_context(capath=bundle)
        return ssl.create_default_context(cafile=bundle)
    except (OSError, ValueError) as error:
        raise InputError(
            f"ASSAY_CA_BUNDLE {printable(bundle)}: no file or folder of certificates ({type(error).__name__}); correct "
            "it on the Ray cluster"
        ) from None


async def _read_body(response: httpx2.Response) -> bytes:
    """The body, or a JSON text that says why the body was not read."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        return json.dumps("an answer that is compressed, though none was asked for").encode()
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > ANSWER_BYTES:
            return json.dumps(f"an answer of more than {ANSWER_BYTES:,} bytes").encode()
    return bytes(body)
