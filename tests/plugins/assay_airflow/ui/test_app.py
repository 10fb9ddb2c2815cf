"""The pages' application: who gets in, what guards every answer."""

import pytest
from assay_airflow.ui.headers import DEFAULTS
from fastapi.testclient import TestClient
from page_users import Login

ROUTES = [
    "/",
    "/static/app.js",
    "/api/suites",
    "/api/checkpoints?suite=demo",
    "/api/me",
    "/api/run?run=a/b",
    "/api/report?run=a/b",
    "/api/compare?left=a/b&right=a/b",
    "/api/pairs?right=a/b",
    "/api/histogram?right=a/b",
    "/api/pairs.csv?right=a/b",
    "/api/image?run=a/b&golden=0123456789abcdef&part=part-00000&row=0",
]  # fmt: skip


@pytest.mark.parametrize("route", ROUTES)
def test_no_route_answers_without_a_login(login: Login, route: str) -> None:
    answer = login(None).get(route)
    assert answer.status_code == 401
    assert answer.headers["content-security-policy"] == DEFAULTS["content-security-policy"]


@pytest.mark.parametrize("route", ROUTES)
def test_no_route_answers_a_user_without_a_role(login: Login, route: str) -> None:
    assert login("").get(route).status_code == 403


def test_the_list_of_routes_is_complete(login: Login) -> None:
    """So the two tests above look at each route that there is."""
    from assay_airflow.ui.app import build_app

    paths = {route.path.replace("{name}", "app.js") for route in build_app().app.routes}
    assert paths == {route.partition("?")[0] for route in ROUTES}


def test_the_shell_has_relative_addresses_and_no_inline_script(viewer: TestClient) -> None:
    answer = viewer.get("/?page=checkpoints")
    assert answer.status_code == 200
    assert 'src="static/app.js"' in answer.text
    assert 'href="static/app.css"' in answer.text
    assert 'src="/' not in answer.text
    assert "script-src 'self';" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["app.py", "..%2fapp.py", "%2e%2e%2fplugin.py", "nothing.js", "a/b.js"])
def test_only_files_of_the_bundle_are_sent(viewer: TestClient, name: str) -> None:
    assert viewer.get(f"/static/{name}").status_code == 404


def test_an_unexpected_error_is_one_line(viewer: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from assay_airflow.ui.routes import checkpoints

    def break_down() -> None:
        raise RuntimeError("a secret of the server")

    monkeypatch.setattr(checkpoints, "list_suites", break_down)
    answer = viewer.get("/api/suites")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert list(answer.json()) == ["detail"]
