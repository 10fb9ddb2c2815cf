"""Adds the security headers to every answer of the pages, errors included."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
)
# The report has its style in the page and no script. `sandbox` gives it an origin of its own.
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; base-uri 'none'; "
    "form-action 'none'; sandbox allow-popups allow-popups-to-escape-sandbox"
)
DEFAULTS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "x-frame-options": "SAMEORIGIN",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "private, no-store",
}

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]


class SafeHeaders:
    """An ASGI application that sets each header of `DEFAULTS` where the inner application has not set it."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Any, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message.get("headers", ())}
                missing = [(name.encode(), value.encode()) for name, value in DEFAULTS.items()]
                message["headers"] = [
                    *message.get("headers", ()),
                    *(header for header in missing if header[0] not in present),
                ]
            await send(message)

        await self.app(scope, receive, send_with_headers)
