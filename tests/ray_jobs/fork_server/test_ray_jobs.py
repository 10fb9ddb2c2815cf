"""Jobs of a real Ray head through a fork server: to Ray each is the same as a job without one."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from forking import SECONDS, Host, is_running, read_ids
from ray_head import RayHead, start_head
from stage_jobs import wait_until

pytestmark = pytest.mark.integration
RUN = f"{sys.executable} -u -m forked_program"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host whose server has the imports of the stages. Ray's jobs start it unasked."""
    new_host = Host(tmp_path_factory.mktemp("host"))
    new_host.environment["KIND_OF_TEST"] = "driver"
    del new_host.environment["ASSAY_FORK_SERVER"]
    yield new_host
    new_host.end()


@pytest.fixture(scope="module")
def head(host: Host) -> Iterator[RayHead]:
    with start_head(host) as new_head:
        yield new_head


@pytest.fixture(scope="module")
def server(host: Host, head: RayHead) -> int:
    """The process id of the server that the first job has started."""
    head.submit("first", f"{RUN} exit 0")
    assert head.wait("first")["status"] == "SUCCEEDED"
    wait_until(lambda: bool(host.find_servers()), SECONDS)
    [process] = host.find_servers()
    return process


def test_jobs_at_once_join_the_cluster_and_use_its_workers(host: Host, head: RayHead, server: int) -> None:
    names = [f"at-once-{number}" for number in range(6)]
    for name in names:
        head.submit(name, f"{RUN} ray {name}")
    jobs = set()
    for name in names:
        job = head.wait(name)
        assert (job["status"], job["driver_exit_code"]) == ("SUCCEEDED", 0), head.log(name)
        assert job["metadata"] == {"of": name}
        facts = json.loads(head.log(name).strip().splitlines()[-1])
        assert facts["parent"] == server
        assert facts["answer"] == f"{name} of __main__"
        jobs.add(facts["job"])
    assert len(jobs) == 6
    assert host.find_servers() == [server]


@pytest.mark.parametrize(("step", "code"), [("exit 3", 3), ("raise", 1), ("die 9", 137)])
def test_ray_sees_the_exit_code(head: RayHead, server: int, step: str, code: int) -> None:
    name = step.replace(" ", "-")
    head.submit(name, f"{RUN} {step}")
    job = head.wait(name)
    assert (job["status"], job["driver_exit_code"]) == ("FAILED", code)


def test_a_job_that_is_stopped_leaves_no_process(host: Host, head: RayHead, server: int, tmp_path: Path) -> None:
    head.submit("stopped", f"{RUN} fork {tmp_path / 'ids'}")
    processes = read_ids(tmp_path / "ids")
    head.stop("stopped")
    assert head.wait("stopped")["status"] == "STOPPED"
    wait_until(lambda: not any(map(is_running, processes)), SECONDS)
    assert host.find_servers() == [server]


def test_a_stage_that_cannot_start_fails_as_without_a_server(host: Host, head: RayHead, server: int) -> None:
    """A real stage, whose spec is not there."""
    head.submit("stage", f"{sys.executable} -u -m ray_jobs.evaluate --spec {host.folder}/runs/none/spec.json")
    job = head.wait("stage")
    assert (job["status"], job["driver_exit_code"]) == ("FAILED", 2), head.log("stage")
    assert "nothing is there" in head.log("stage").strip().splitlines()[-1]


def test_the_server_ends_with_the_raylet(host: Host, head: RayHead, server: int) -> None:
    """The last test: the head has no raylet afterwards."""
    [raylet] = [process for process in head.process.children(recursive=True) if process.name() == "raylet"]
    raylet.kill()
    wait_until(lambda: not is_running(server), SECONDS)
