"""Two Ray nodes on this machine, each in its own network and mount namespace. This needs root.

Node a is the head, node b joins when it is told to. `/mnt` is private to each; everything else they share.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ADDRESSES = {"a": "10.77.0.1", "b": "10.77.0.2"}  # they are known in the two namespaces only
HEAD = f"{ADDRESSES['a']}:6399"
ENVIRONMENT = {
    "PYTHONPATH": str(ROOT),
    "RAY_ADDRESS": HEAD,
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_OFFLINE": "1",
}


@dataclass(frozen=True)
class TwoNodes:
    """Two nodes. `home` has a folder for each, which the node sees as `/mnt`."""

    home: Path
    mark: str
    started: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    def run(self, *command: str, timeout: float = 120) -> "subprocess.CompletedProcess[str]":
        """Run a command on node a, as a driver there."""
        return subprocess.run(
            self._on("a", command), env=os.environ | ENVIRONMENT, capture_output=True, text=True, timeout=timeout
        )

    def join(self, node: str) -> None:
        """Start the Ray node, and return when the head knows it."""
        log = self.home / f"{node}.log"
        command = [
            sys.executable, "-m", "ray.scripts.scripts", "start", f"--node-ip-address={ADDRESSES[node]}",
            "--block", "--disable-usage-stats", "--num-cpus=1", "--object-store-memory=80000000",
        ]  # fmt: skip
        if node == "a":
            command += ["--head", "--port=6399", "--include-dashboard=false", "--temp-dir=/mnt/ray"]
        else:
            command += [f"--address={HEAD}"]
        environment = {name: value for name, value in (os.environ | ENVIRONMENT).items() if name != "RAY_ADDRESS"}
        process = subprocess.Popen(
            self._on(node, command), env=environment, stdout=log.open("wb"), stderr=subprocess.STDOUT
        )
        self.started.append(process)
        deadline = time.monotonic() + 120
        while "Ray runtime started" not in log.read_text(errors="replace"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"node {node} did not start:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.2)

    def send(self, node: str, sign: signal.Signals) -> None:
        """Send a signal to every process of the node."""
        for pid in self._processes(node):
            with suppress(ProcessLookupError):
                os.kill(pid, sign)

    def end(self) -> None:
        """End both nodes, and remove their namespaces and all processes in them."""
        for node in ADDRESSES:
            if Path("/run/netns", self.space(node)).exists():
                while self._processes(node):
                    self.send(node, signal.SIGKILL)
                    time.sleep(0.05)
                subprocess.run(["ip", "netns", "del", self.space(node)], check=True)
        for process in self.started:
            process.wait()

    def space(self, node: str) -> str:
        return f"assay-{self.mark}-{node}"

    def _processes(self, node: str) -> list[int]:
        listing = subprocess.run(["ip", "netns", "pids", self.space(node)], capture_output=True, text=True, check=True)
        return [int(pid) for pid in listing.stdout.split()]

    def _on(self, node: str, command: "list[str] | tuple[str, ...]") -> list[str]:
        mount = f'mount --bind "{self.home / node}" /mnt && exec "$@"'  # `ip netns exec` makes a mount namespace
        return ["ip", "netns", "exec", self.space(node), "sh", "-c", mount, "sh", *command]


@contextmanager
def start_two_nodes(home: Path) -> Iterator[TwoNodes]:
    """Start node a. Both nodes end with the block. Skips the test where namespaces are not permitted."""
    nodes = TwoNodes(home, str(os.getpid()))
    try:
        _make_spaces(nodes)
        nodes.join("a")
        yield nodes
    finally:
        nodes.end()


def _make_spaces(nodes: TwoNodes) -> None:
    a, b = nodes.space("a"), nodes.space("b")
    cables = {"a": f"as{nodes.mark}a", "b": f"as{nodes.mark}b"}
    commands = [f"netns add {a}", f"netns add {b}"]
    commands += [f"link add {cables['a']} netns {a} type veth peer name {cables['b']} netns {b}"]
    for node, other in (("a", "b"), ("b", "a")):
        (nodes.home / node).mkdir()
        inside = f"-n {nodes.space(node)}"
        commands += [
            f"{inside} link set lo up",
            f"{inside} addr add {ADDRESSES[node]}/24 dev {cables[node]}",
            f"{inside} link set {cables[node]} up",
            f"{inside} route add default via {ADDRESSES[other]}",  # by its route Ray finds the address of its node
        ]
    for command in commands:
        try:
            process = subprocess.run(["ip", *command.split()], capture_output=True, text=True)
        except FileNotFoundError:
            pytest.skip("two nodes on one machine need the command ip (iproute2)")
        if process.returncode:
            pytest.skip(f"two nodes on one machine need namespaces: ip {command}: {process.stderr.strip()}")
    probe = nodes._on("a", ["true"])
    if (process := subprocess.run(probe, capture_output=True, text=True)).returncode:
        pytest.skip(f"two nodes on one machine need mounts: {process.stderr.strip()}")
