import asyncio
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from airflow.sdk import Connection
from assay_airflow.exceptions import RayUnreachable
from assay_airflow.hooks.ray import Address, RayHook
from ray_server import RayServer, connect

from ray_jobs.inputs.errors import InputError

PAYLOAD = {"submission_id": "a", "entrypoint": "true", "metadata": {}}

Ask = Callable[[], object]


def test_a_submitted_job_is_listed_and_a_second_submission_is_refused(ray: RayServer) -> None:
    hook = RayHook()
    assert hook.job("a") is None
    assert hook.submit(PAYLOAD) is True
    assert hook.submit(PAYLOAD) is False
    job = hook.job("a")
    assert job is not None
    assert job["status"] == "PENDING"


def test_a_running_job_is_stopped_and_an_unknown_one_is_no_error(ray: RayServer) -> None:
    ray.add("a", "RUNNING")
    RayHook().stop("a")
    RayHook().stop("nobody")
    assert ray.stopped == ["a"]


def test_an_error_is_one_line_with_the_address(ray: RayServer) -> None:
    ray.broken = 1
    with pytest.raises(RayUnreachable) as raised:
        RayHook().submit(PAYLOAD)
    assert str(raised.value) == f"Ray at http://127.0.0.1:{ray.port} answers 500: RuntimeError: GCS is away"


@pytest.mark.parametrize("token", ["wrong", None])
def test_a_refused_token_is_an_input_error(ray: RayServer, monkeypatch: pytest.MonkeyPatch, token: str | None) -> None:
    connect(monkeypatch, ray.port, token)
    with pytest.raises(InputError, match="refuses the token; check the password of connection ray_default"):
        RayHook().job("a")
    with pytest.raises(InputError, match="refuses the token"):
        asyncio.run(RayHook().aping())


def test_no_answer_is_one_line_with_the_address_and_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as bound_socket:  # bound and not listening, so that no other process listens there
        bound_socket.bind(("127.0.0.1", 0))
        connect(monkeypatch, bound_socket.getsockname()[1], None)
        asks: tuple[Ask, ...] = (lambda: RayHook().job("a"), lambda: asyncio.run(RayHook().aping()))
        for ask in asks:
            with pytest.raises(RayUnreachable) as raised:
                ask()
            line = str(raised.value)
            assert line.startswith(f"Ray at http://127.0.0.1:{bound_socket.getsockname()[1]} does not answer: ")
            assert line.endswith("is the head running, and is connection ray_default right?")
            assert "\n" not in line


def test_an_undefined_connection_is_an_input_error() -> None:
    hook = RayHook("ray_elsewhere")
    asks: tuple[Ask, ...] = (lambda: hook.job("a"), lambda: asyncio.run(hook.aping()))
    for ask in asks:
        with pytest.raises(InputError, match="connection ray_elsewhere is not defined; add it with type ray"):
            ask()


def test_a_ping_passes_where_a_job_could_start_and_starts_none(ray: RayServer) -> None:
    asyncio.run(RayHook().aping())
    assert not ray.jobs


def test_a_head_without_an_agent_is_not_ready_and_the_line_has_the_remedy(ray: RayServer) -> None:
    ray.agent = False
    for ask in (lambda: asyncio.run(RayHook().aping()), lambda: RayHook().submit(PAYLOAD)):
        with pytest.raises(RayUnreachable) as raised:
            ask()
        assert str(raised.value) == (
            f"Ray at http://127.0.0.1:{ray.port} has no agent that starts jobs; wait a minute if it has just started, "
            "else read dashboard_agent.log of the Ray head (a port of the agent may be taken) and restart it"
        )


def test_another_program_on_the_port_is_not_taken_for_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)  # answers 501 to any POST
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    connect(monkeypatch, server.server_port, None)
    try:
        with pytest.raises(RayUnreachable, match=r"answers 501, and not as Ray does .*; is another program there\?"):
            asyncio.run(RayHook().aping())
    finally:
        server.shutdown()
        server.server_close()


def test_the_address_follows_the_connection() -> None:
    connection = Connection(conn_id="r", conn_type="ray", host="ray.example", schema="https", port=443, password="t")
    address = Address.of(connection)
    assert (address.url, address.headers) == ("https://ray.example:443", {"Authorization": "Bearer t"})
    assert address.job_page("a") == "https://ray.example:443/#/jobs/a"


def test_the_dashboard_may_be_elsewhere_and_the_port_has_a_default() -> None:
    extra = '{"dashboard_url": "https://dash.example/ray/"}'
    address = Address.of(Connection(conn_id="r", conn_type="ray", host="head", extra=extra))
    assert (address.url, address.headers) == ("http://head:8265", {})
    assert address.job_page("a") == "https://dash.example/ray/#/jobs/a"


def test_a_connection_without_host_is_an_input_error() -> None:
    with pytest.raises(InputError, match="connection r: names no host"):
        Address.of(Connection(conn_id="r", conn_type="ray"))
