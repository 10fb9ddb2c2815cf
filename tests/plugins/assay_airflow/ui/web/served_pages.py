"""The pages' own application on a port of this machine, for a browser."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi.testclient import TestClient
from playwright.sync_api import Browser, BrowserContext


class Server(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = threading.Event()

    async def startup(self, sockets: object = None) -> None:
        await super().startup()
        self.listens.set()


@contextmanager
def serve_pages(client: TestClient) -> Iterator[str]:
    """The address of the pages that `client` talks to, while they are served."""
    server = Server(uvicorn.Config(client.app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        assert server.listens.wait(60)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/assay/"
    finally:
        server.should_exit = True
        thread.join(30)


def log_in(browser: Browser, client: TestClient, **context: object) -> BrowserContext:
    """A context of the browser with the login of `client`."""
    headers = {"Authorization": client.headers["Authorization"]}
    return browser.new_context(extra_http_headers=headers, **context)  # type: ignore[arg-type]
