"""Builds the application of Assay's pages: the shell, the bundle's files, the JSON routes, and what guards them.

The API server of Airflow mounts the application. Every route needs a user who may see plugins; the routes about runs
also ask for the right to read the DAG that made the run (`access`). Airflow's dependencies do not reach a mounted
folder of files, so the bundle's files are served by a route.
"""

import re
from pathlib import Path
from typing import Any

from airflow.api_fastapi.auth.managers.models.resource_details import AccessView
from airflow.api_fastapi.core_api.security import requires_access_view
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import FileResponse, HTMLResponse

from assay_airflow.ui.answers import add_error_lines
from assay_airflow.ui.headers import SafeHeaders
from assay_airflow.ui.routes import checkpoints, compare, image, me, pairs, run

STATIC = Path(__file__).with_name("static")
FILE_NAME = re.compile(r"[A-Za-z0-9_-]+\.(js|css|svg|png|woff2|txt)", re.ASCII)
SHELL = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Assay</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="static/app.css">
</head>
<body>
<div id="app"></div>
<script type="module" src="static/app.js"></script>
</body>
</html>
"""


def build_app() -> Any:
    """Returns the ASGI application of the pages."""
    app = FastAPI(
        title="Assay",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[Depends(requires_access_view(AccessView.PLUGINS))],
    )
    app.add_api_route("/", show_shell, response_class=HTMLResponse)
    app.add_api_route("/static/{name}", send_static_file, response_class=FileResponse)
    for module in (checkpoints, compare, image, me, pairs, run):
        app.include_router(module.router, prefix="/api")
    add_error_lines(app)
    return SafeHeaders(app)


def show_shell() -> HTMLResponse:
    """The same HTML for every page. The bundle reads the page and its state from the query string."""
    return HTMLResponse(SHELL)


def send_static_file(name: str) -> FileResponse:
    """A file of the bundle."""
    file = STATIC / name
    if not FILE_NAME.fullmatch(name) or not file.is_file():
        raise HTTPException(404, "no such file of the pages")
    return FileResponse(file, headers={"Cache-Control": "private, no-cache"})
