"""Which processes share a server."""

import os

import pytest
from forking import SECONDS, Host
from stage_jobs import wait_until


@pytest.mark.parametrize(
    "change",
    [
        {"LANG": "C.UTF-8"}, {"OMP_NUM_THREADS": "1"}, {"VLLM_ANYTHING": "1"}, {"PYTHONPATH": "/nowhere"},
        {"PYTHONHASHSEED": "1"}, {"RAY_ANYTHING": "1"},
    ],
)  # fmt: skip
def test_what_an_import_may_read_needs_another_server(host: Host, change: dict[str, str]) -> None:
    server = host.ready()
    if "PYTHONPATH" in change:
        change = {"PYTHONPATH": f"{host.environment['PYTHONPATH']}:{change['PYTHONPATH']}"}
    host.environment |= change
    assert host.show()["parent"] == os.getpid()
    wait_until(lambda: len(host.find_servers()) == 2, SECONDS)
    assert host.show()["parent"] in set(host.find_servers()) - {server}


@pytest.mark.parametrize("what", ["limit", "nice", "umask"])
def test_what_a_process_cannot_change_needs_another_server(host: Host, what: str) -> None:
    import resource

    def prepare() -> None:
        if what == "limit":
            resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))
        elif what == "nice":
            os.nice(1)
        else:
            os.umask(0o027)

    server = host.ready()
    parent = host.show(preexec_fn=prepare)["parent"]
    assert (parent == server) == (what == "umask")
