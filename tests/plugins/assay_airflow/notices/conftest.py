"""Receivers, and the connections that lead to them."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from receivers import MailServer, WebServer


@pytest.fixture
def mail(monkeypatch: pytest.MonkeyPatch) -> Iterator[MailServer]:
    """A mail server, at connection `team_mail`."""
    with MailServer() as server:
        extra = {"disable_ssl": True, "disable_tls": True, "from_email": "assay@example.com", "to": "team@example.com"}
        define(monkeypatch, "team_mail", conn_type="smtp", host="127.0.0.1", port=server.port, extra=extra)
        yield server


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    """A web server, at connections `hook` and `chat`, which is Slack's."""
    with WebServer() as server:
        url = f"http://127.0.0.1:{server.port}"
        define(monkeypatch, "hook", conn_type="http", host=f"{url}/hook", password="sesame")
        define(monkeypatch, "chat", conn_type="slackwebhook", password=f"{url}/services/T0/B0/secret")
        yield server


def define(monkeypatch: pytest.MonkeyPatch, conn_id: str, **fields: Any) -> None:
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))
