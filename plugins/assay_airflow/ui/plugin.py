"""The plugin of Assay's pages: where they stand in Airflow's user interface, and the application that serves them.

Airflow builds the plugin in each component and in each task. Only the API server calls the application, so the
application is built at its first request.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from airflow.plugins_manager import AirflowPlugin

PREFIX = "/assay"

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class PagesOnDemand:
    """An ASGI application that imports and builds the pages when the first request arrives."""

    def __init__(self) -> None:
        self._pages: Any = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if self._pages is None:
            from assay_airflow.ui.app import build_app

            self._pages = build_app()
        await self._pages(scope, receive, send)


class AssayPages(AirflowPlugin):
    """Adds the page of all checkpoints to Airflow's menu, and two tabs to each dag run."""

    name = "assay_pages"
    fastapi_apps = [{"app": PagesOnDemand(), "url_prefix": PREFIX, "name": "Assay"}]
    external_views = [
        {
            "name": "Checkpoints",
            "href": f"{PREFIX}/?page=checkpoints",
            "destination": "nav",
            "url_route": "checkpoints",
            "nav_top_level": True,
        },
        {
            "name": "Assay",
            "href": f"{PREFIX}/?page=run&dag={{DAG_ID}}&dag_run={{RUN_ID}}",
            "destination": "dag_run",
            "url_route": "assay",
        },
        {
            "name": "Explorer",
            "href": f"{PREFIX}/?page=explorer&dag={{DAG_ID}}&dag_run={{RUN_ID}}",
            "destination": "dag_run",
            "url_route": "explorer",
        },
    ]
