"""Measures a pass of the router: requests to the store and seconds; prints a Markdown table.

    .assay/data/bin/python -m benchmarks.router                        # 500 new and 5,000 known checkpoints, on S3
    .assay/data/bin/python -m benchmarks.router --new 50 --known 500 --shards 30
    .assay/data/bin/python -m benchmarks.router --folder /tmp/assay-router    # in a directory instead

moto serves S3 in a thread of this process. It answers in one or two milliseconds and shares this process's Python. So
only the number of requests carries over to a real store. `--delay` adds seconds to each request, as a distant store
would. Airflow takes no part: counting runs costs it one or two queries per checkpoint without a record.
"""

import argparse
import json
import logging
import os
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from datetime import UTC, datetime
from io import StringIO
from typing import Any

from assay_airflow import router

from ray_jobs.checkpoints.inspect import resolve
from ray_jobs.contract.artifacts import Record, Verdict
from ray_jobs.contract.spec import Spec
from ray_jobs.contract.suite import Suite
from ray_jobs.storage import index, objects, s3_client

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def upload(uri: str, name: str, shards: int) -> None:
    """Write a complete checkpoint with this number of tiny shards."""
    files = {"config.json": b'{"architectures": ["Tiny"]}', "tokenizer.json": b"{}"}
    for number in range(shards):
        shard = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        header = json.dumps({f"t{number}": {"dtype": "U8", "shape": [64], "data_offsets": [0, 64]}}).encode()
        files[shard] = struct.pack("<Q", len(header)) + header + f"{name:64}".encode()
    of_tensor = {f"t{number}": f"model-{number + 1:05d}-of-{shards:05d}.safetensors" for number in range(shards)}
    files["model.safetensors.index.json"] = json.dumps({"weight_map": of_tensor}).encode()
    for file, content in files.items():
        objects.write(f"{uri}/{name}/{file}", content)


def publish(root: str, uri: str, name: str) -> None:
    """Write the index entry of the checkpoint's record, as a run does."""
    suite = Suite.model_validate({"name": "small", "dataset": {"source": "/data/images"}})
    spec = Spec(root=root, suite=suite, checkpoint=resolve(f"{uri}/{name}"), source_revision="r1")
    ids = {
        key: getattr(spec, key) for key in ("run_id", "run_uri", "scoring_id", "series_id", "golden_id", "caption_id")
    }
    nothing: dict[str, Any] = {"metrics": {}, "images": {}, "seconds": {}, "versions": {}}
    verdict = Verdict(outcome="PASS", reason="as told", baseline=None, alpha=0.0027)
    record = Record(**ids, **nothing, suite="small", checkpoint=spec.checkpoint, verdict=verdict, published_at=NOW)
    index.add(root, [record])


class Requests:
    """Counts the requests of this process's S3 client, and delays each."""

    def __init__(self, delay: float) -> None:
        self.count, self._delay, self._lock = 0, delay, threading.Lock()
        s3_client.get_client().meta.events.register("before-send.s3.*", self._send)

    def _send(self, **_: Any) -> None:
        with self._lock:
            self.count += 1
        time.sleep(self._delay)


def make_pass(root: str, uri: str, requested: set[str]) -> router.Pass:
    def count(run_ids: list[str], states: list[str] | None) -> int:
        return len(requested & set(run_ids))

    with redirect_stdout(StringIO()):
        result = router.run_pass(root, "small", uri, count, "arrival", NOW)
    requested |= {request["trigger_run_id"] for request in result.requests}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--new", type=int, default=500)
    parser.add_argument("--known", type=int, default=5000)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds added to each request")
    parser.add_argument("--folder", help="a local directory instead of the S3 server")
    arguments = parser.parse_args()
    server = None
    if not arguments.folder:
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it logs each request
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        os.environ |= {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }  # fmt: skip
        s3_client.get_client().create_bucket(Bucket="bench")
    place = arguments.folder or "s3://bench"
    root, uri = f"{place}/root", f"{place}/in"
    with ThreadPoolExecutor(8) as pool:
        known = [f"known-{number}" for number in range(arguments.known)]
        list(pool.map(lambda name: upload(uri, name, arguments.shards), known))
        list(pool.map(lambda name: publish(root, uri, name), known))
    requests = Requests(arguments.delay) if server else None
    requested: set[str] = set()
    print(f"{arguments.shards} shards each, {arguments.delay} s added to each request\n")
    print("| pass | requests | seconds | to validate |\n| --- | --- | --- | --- |")

    def measure(pass_name: str) -> None:
        before, began = requests.count if requests else 0, time.monotonic()
        result = make_pass(root, uri, requested)
        count = requests.count - before if requests else 0
        print(f"| {pass_name} | {count or ''} | {time.monotonic() - began:.1f} | {len(result.requests)} |", flush=True)

    measure(f"first sight of {arguments.known} that have records")
    measure(f"{arguments.known} known, none new")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: upload(uri, f"new-{number}", arguments.shards), range(arguments.new)))
    for _ in range(1 + (arguments.new - 1) // router.MAX_REQUESTS):
        measure(f"{arguments.known} known and {arguments.new} that arrived at once")
    measure("the same, all asked for")
    if server:
        server.stop()


if __name__ == "__main__":
    main()
