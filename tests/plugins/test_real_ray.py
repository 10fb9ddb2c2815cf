"""The hook and the trigger against a real Ray head, so that the stand-in is known to behave like it."""

import asyncio
import json
import logging
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import httpx
import psutil
import pytest
from assay_airflow.exceptions import RayUnreachable
from assay_airflow.hooks.ray import RayHook
from assay_airflow.triggers.ray_job import RayJobTrigger
from ray_server import connect

from ray_jobs.inputs.errors import InputError
from ray_jobs.job import submission_probe

REPO = Path(__file__).parents[2]
RAY = Path(os.environ.get("ASSAY_DATA_ENV", REPO / ".assay" / "data")) / "bin" / "ray"
TOKEN = "0123456789abcdef" * 4

pytestmark = pytest.mark.integration


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The dashboard's port of a Ray head that requires a token."""
    folder, port = tmp_path_factory.mktemp("ray"), free_port()
    (folder / "token").write_text(TOKEN)
    command = [str(RAY), "start", "--head", "--block", "--node-ip-address", "127.0.0.1", "--port", str(free_port())]
    command += ["--dashboard-host", "127.0.0.1", "--dashboard-port", str(port), "--num-cpus", "1"]
    command += ["--dashboard-agent-listen-port", str(free_port()), "--ray-client-server-port", str(free_port())]
    command += ["--object-store-memory", "100000000", "--disable-usage-stats"]
    command += ["--min-worker-port", "0", "--max-worker-port", "0"]
    settings = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "PATH": f"{RAY.parent}:{os.environ['PATH']}",
    }
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=os.environ | settings, stdout=log, stderr=log, start_new_session=True)
    try:
        limit = time.monotonic() + 120
        while not is_answering(port):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < limit, (folder / "log").read_text()
            time.sleep(0.5)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)


def is_answering(port: int) -> bool:
    try:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return httpx.get(f"http://127.0.0.1:{port}/api/jobs/x", headers=headers, timeout=5).status_code == 404
    except httpx.HTTPError:
        return False


@pytest.fixture
def hook(head: int, monkeypatch: pytest.MonkeyPatch) -> RayHook:
    connect(monkeypatch, head, TOKEN)
    return RayHook()


def submit(hook: RayHook, name: str, command: str) -> None:
    assert hook.submit({"submission_id": name, "entrypoint": command, "metadata": {"assay_spec": "s3://r/spec.json"}})


def await_job_event(name: str, seconds: float = 120, caplog: Any = None) -> dict[str, Any]:
    async def first() -> dict[str, Any]:
        trigger = RayJobTrigger("ray_default", name, time.time() + seconds, poll_interval=0.5)
        trigger._log = cast(Any, logging.getLogger("task"))
        return dict((await anext(trigger.run())).payload)

    return asyncio.run(asyncio.wait_for(first(), 120))


def test_a_job_runs_with_its_log_copied_and_is_not_submitted_twice(
    hook: RayHook, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="task")
    submit(hook, "good", "echo one; sleep 2; echo two; echo three >&2")
    assert hook.submit({"submission_id": "good", "entrypoint": "echo again"}) is False
    event = await_job_event("good")
    assert (event["status"], event["metadata"]) == ("SUCCEEDED", {"assay_spec": "s3://r/spec.json"})
    assert abs(event["start_time"] / 1000 - time.time()) < 120
    lines = [record.getMessage() for record in caplog.records if record.name == "task"]
    assert [line for line in lines if line in ("[ray] one", "[ray] two", "[ray] three")] == [
        "[ray] one",
        "[ray] two",
        "[ray] three",
    ]


def test_a_failed_job_has_its_exit_code_and_message(hook: RayHook) -> None:
    submit(hook, "bad", "echo why; exit 2")
    event = await_job_event("bad")
    assert (event["status"], event["exit_code"]) == ("FAILED", 2)
    assert "why" in event["message"]


def test_the_deadline_and_a_person_stop_a_job(hook: RayHook) -> None:
    submit(hook, "long", "sleep 600")
    assert await_job_event("long", seconds=1)["status"] == "TIMEOUT"
    submit(hook, "longer", "sleep 600")
    asyncio.run(RayJobTrigger("ray_default", "longer", time.time() + 60).on_kill())
    for name in ("long", "longer"):
        assert await_job_event(name)["status"] == "STOPPED"


def test_an_unknown_job_is_lost(hook: RayHook) -> None:
    assert hook.job("nobody") is None
    hook.stop("nobody")
    assert await_job_event("nobody")["status"] == "LOST"


def test_a_malformed_submission_is_one_line(hook: RayHook) -> None:
    with pytest.raises(RayUnreachable) as raised:
        hook.submit({"entrypoint": 7})
    assert "\n" not in str(raised.value)


def test_a_ping_reaches_the_agent_and_makes_no_job(hook: RayHook, head: int) -> None:
    asyncio.run(RayHook().aping())
    assert hook.job(str(submission_probe.PROBE["submission_id"])) is None


def test_a_wrong_token_is_refused(head: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for token in ("f" * 64, None):
        connect(monkeypatch, head, token)
        with pytest.raises(InputError, match="refuses the token"):
            RayHook().job("good")
        with pytest.raises(InputError, match="refuses the token"):
            asyncio.run(RayHook().aping())


def test_the_connection_is_what_the_stack_writes(head: int, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"conn_type": "ray", "host": "127.0.0.1", "port": head, "password": TOKEN}
    monkeypatch.setenv("AIRFLOW_CONN_RAY_DEFAULT", json.dumps(settings))
    asyncio.run(RayHook().aping())


def test_a_head_whose_agent_died_is_not_ready(hook: RayHook, head: int) -> None:
    """The last test here, because nothing starts the agent again."""
    (agent,) = [
        process
        for process in psutil.process_iter(["name", "cmdline"])
        if "ray::DashboardAgent" in " ".join(process.info["cmdline"] or []) and _is_of_head(process, head)
    ]
    agent.kill()
    agent.wait(10)
    with pytest.raises(RayUnreachable, match=r"has no agent that starts jobs; .*|does not answer"):
        asyncio.run(RayHook().aping())


def _is_of_head(process: psutil.Process, head: int) -> bool:
    with suppress(psutil.Error):
        return any(str(head) in parent.cmdline() for parent in process.parents())
    return False
