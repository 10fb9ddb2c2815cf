"""The pages as Airflow's API server mounts them, with Airflow's own login, and the corpus of a release below a root."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow.api_fastapi.app import create_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.models import import_all_models
from airflow.models.base import Base
from airflow.settings import engine
from assay_airflow.ui.plugin import AssayPages
from assay_airflow.ui.queries import origins
from browser import CHROMIUM, open_browser
from fastapi import FastAPI
from fastapi.testclient import TestClient
from page_users import Login
from pages_server import PagesServer
from playwright.sync_api import Browser

CORPUS = Path(__file__).parents[3] / "corpus" / "e0c6db2"
WAS = "/srv/assay/root"  # the root when the corpus was written


@pytest.fixture(scope="session")
def database() -> None:
    """Airflow's tables, empty."""
    import_all_models()  # type: ignore[no-untyped-call]
    Base.metadata.create_all(engine)


@pytest.fixture(scope="session")
def pages_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the corpus: six runs of the demo's suite."""
    root = tmp_path_factory.mktemp("pages") / "root"
    shutil.copytree(CORPUS, root)
    for file in root.rglob("*.json"):
        file.write_text(file.read_text().replace(f'"{WAS}/', f'"{root}/'))
    return root


@pytest.fixture
def login(database: None, pages_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Login:
    """Returns a client of the pages for a user of a role; for None a client without a login."""
    monkeypatch.setenv("ASSAY_ROOT", str(pages_root))
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(origins, "_cache", {})
    manager = create_auth_manager()
    host = FastAPI()
    (pages,) = AssayPages.fastapi_apps
    host.mount(pages["url_prefix"], pages["app"])

    def log_in(role: str | None) -> TestClient:
        client = TestClient(host, base_url="http://127.0.0.1/assay", raise_server_exceptions=False)
        if role is not None:
            token = manager.generate_jwt(SimpleAuthManagerUser(username=f"a {role}", role=role or None))
            client.headers["Authorization"] = f"Bearer {token}"
        return client

    return log_in


@pytest.fixture
def viewer(login: Login) -> TestClient:
    return login("VIEWER")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: dev/browser.sh installs it")
    with open_browser() as chromium:
        yield chromium


@pytest.fixture
def server() -> Iterator[PagesServer]:
    """A stand-in for the pages' server, for the bundle alone."""
    with PagesServer() as server:
        yield server
