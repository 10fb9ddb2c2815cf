"""A real S3 server for the tests: OpenStack Swift on one directory, its S3 API on 127.0.0.1.

    python tests/s3_server.py FOLDER

prints the variables to export and serves until it is stopped. Objects survive a kill -9 of the server; signatures are
checked; `If-None-Match: *` works, `If-Match` does not.
"""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PYTHON = Path(__file__).parents[1] / ".assay" / "s3" / "bin" / "python"
STORES = ("account", "container", "object")
PIPELINE = "catch_errors gatekeeper healthcheck s3api tempauth copy slo dlo versioned_writes symlink proxy-server"

START_SWIFT = Path(__file__).with_name("start_swift.py")


@contextmanager
def start_swift(folder: Path) -> Iterator[dict[str, str]]:
    """Serve the folder while the block runs; yields the AWS variables to reach it with."""
    if not PYTHON.exists():
        raise FileNotFoundError(f"{PYTHON}: no Swift; run dev/setup.sh s3")
    ports = dict(zip((*STORES, "proxy"), free_ports(4), strict=True))
    _configure(folder, ports)
    servers = [_start(folder, name) for name in ports]
    try:
        _wait_until_healthy(folder, ports["proxy"], servers)
        yield {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports['proxy']}",
            "AWS_ACCESS_KEY_ID": "test:tester",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    finally:
        for server in servers:
            server.terminate()
        for server in servers:
            server.wait(20)


def _start(folder: Path, name: str) -> subprocess.Popen[bytes]:
    script, conf = PYTHON.with_name(f"swift-{name}-server"), folder / "etc" / f"{name}-server.conf"
    with (folder / f"{name}.log").open("ab") as log:
        command = [PYTHON, START_SWIFT, folder / "etc" / "swift.conf", script, conf]
        return subprocess.Popen(command, stdout=log, stderr=log)


def _wait_until_healthy(folder: Path, port: int, servers: list[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if any(server.poll() is not None for server in servers):
            break
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthcheck", timeout=2).read()
            return
        except OSError:
            time.sleep(0.1)
    logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in sorted(folder.glob("*.log")))
    raise RuntimeError(f"Swift did not start:\n{logs}")


def _configure(folder: Path, ports: dict[str, int]) -> None:
    etc = folder / "etc"
    etc.mkdir(parents=True, exist_ok=True)
    (folder / "srv" / "d1").mkdir(parents=True, exist_ok=True)
    import pwd

    shared = f"bind_ip = 127.0.0.1\nworkers = 0\nuser = {pwd.getpwuid(os.getuid()).pw_name}\nswift_dir = {etc}\n"
    (etc / "swift.conf").write_text(
        "[swift-hash]\nswift_hash_path_suffix = assay\nswift_hash_path_prefix = assay\n"
        "[storage-policy:0]\nname = Policy-0\ndefault = yes\n"
    )
    for name in STORES:
        builder = etc / f"{name}.builder"
        builder.unlink(missing_ok=True)
        ring = [PYTHON, PYTHON.with_name("swift-ring-builder"), builder]
        for step in (
            ["create", "4", "1", "0"],
            ["add", f"r1z1-127.0.0.1:{ports[name]}/d1", "1"],
            ["rebalance"],
        ):
            subprocess.run([*ring, *step], check=True, capture_output=True)
        (etc / f"{name}-server.conf").write_text(
            f"[DEFAULT]\nbind_port = {ports[name]}\n{shared}devices = {folder / 'srv'}\nmount_check = false\n"
            f"disable_fallocate = true\n[pipeline:main]\npipeline = {name}-server\n"
            f"[app:{name}-server]\nuse = egg:swift#{name}\n"
        )
    filters = {
        "s3api": "location = us-east-1\ns3_acl = false\ncheck_bucket_owner = true\nauth_pipeline_check = true\n",
        "tempauth": "user_test_tester = testing .admin\n",
        "versioned_writes": "allow_object_versioning = true\n",
    }
    sections = "".join(
        f"[filter:{name}]\nuse = egg:swift#{name}\n{filters.get(name, '')}" for name in PIPELINE.split()[:-1]
    )
    (etc / "proxy-server.conf").write_text(
        f"[DEFAULT]\nbind_port = {ports['proxy']}\n{shared}[pipeline:main]\npipeline = {PIPELINE}\n"
        f"[app:proxy-server]\nuse = egg:swift#proxy\naccount_autocreate = true\n{sections}"
    )


def free_ports(count: int) -> list[int]:
    """Ports that are free now; all are held until all are found, so no two are the same."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports


if __name__ == "__main__":
    with start_swift(Path(sys.argv[1]).absolute()) as variables:
        for variable, value in variables.items():
            print(f"export {variable}={value}", flush=True)
        with suppress(KeyboardInterrupt):
            time.sleep(1e9)
