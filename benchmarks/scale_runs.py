"""Measures what a root with many runs costs each caller of the index: requests, bytes and seconds.

`benchmarks.scale runs` calls this. moto serves S3 in a process of its own, so the CPU seconds are Assay's alone. The
server answers in a few milliseconds, so only the numbers of requests and bytes carry over to a real store.
"""

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import yaml
from assay_airflow import audit_selection, limits

from benchmarks.pictures import write_jpegs
from ray_jobs.command_line import records as commands
from ray_jobs.contract.artifacts import Record, Summary, Verdict
from ray_jobs.contract.spec import Spec
from ray_jobs.plan import plan
from ray_jobs.report.trend import build_trend, describe_run
from ray_jobs.storage import index, index_rebuild, objects, records, s3_client
from ray_jobs.storage.record_summary import summarise_record

CHECKPOINT = Path(__file__).parent.parent / "demo" / "checkpoints" / "step-0800"
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
METRICS = ("bleu", "chrf", "rouge_l", "meteor", "cider", "words", "repetition", "distinct", "coverage", "judge")
AT_ONCE = 16  # publishers


class Traffic:
    """Counts the requests of this process's S3 client, and the bytes of the objects that it writes and reads."""

    def __init__(self) -> None:
        self.requests = self.bytes = 0
        self._lock = threading.Lock()
        events = s3_client.get_client().meta.events
        events.register("before-send.s3.*", self._count_request)
        events.register("response-received.s3.GetObject", self._count_answer)

    def _count_request(self, request: Any, **_: Any) -> None:
        with self._lock:
            self.requests += 1
            self.bytes += int(request.headers.get("Content-Length") or 0)

    def _count_answer(self, parsed_response: dict[str, Any] | None, **_: Any) -> None:
        with self._lock:
            self.bytes += (parsed_response or {}).get("ContentLength", 0)


@contextmanager
def serve_s3() -> Iterator[None]:
    """A context with an S3 server in its own process, which the variables of this process name."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    try:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield
    finally:
        server.terminate()
        server.wait()


def make_record(spec: Spec, number: int) -> Record:
    """The record of the run of another checkpoint with the spec's suite and images, as large as records are."""
    checkpoint = spec.checkpoint.model_copy(
        update={"uri": f"s3://checkpoints/run/step-{number:06d}", "fingerprint": f"{number:016x}", "files": ()}
    )
    spec_of_run = spec.model_copy(update={"checkpoint": checkpoint})
    summary = Summary(
        n=1000, expected=1000, mean=61.2 + number % 7, standard_error=0.31, low=60.6, high=61.8, unit="points",
        direction=1, quantiles={"5": 11.0, "50": 60.0, "95": 99.0}, edges=tuple(range(21)), histogram=(50,) * 20,
    )  # fmt: skip
    ids = {name: getattr(spec_of_run, name) for name in ("run_id", "run_uri", "series_id", "golden_id", "caption_id")}
    outcome = "FAIL" if number % 10 == 9 else "PASS"
    reason = "no metric is worse than its margin allows; chrf 61.2 against 61.1, margin 1"
    return Record(
        **ids, scoring_id=spec_of_run.scoring_id, suite=spec_of_run.suite.name, checkpoint=checkpoint,
        verdict=Verdict(outcome=outcome, reason=reason, baseline=spec.baseline, alpha=0.0027),
        metrics=dict.fromkeys(METRICS, summary), images={"read": 1000, "captioned": 1000, "scored": 1000},
        seconds={"caption": {"steady": 100.0}}, versions={"vllm": "0.29.0"},
        published_at=FIRST + timedelta(minutes=number),
    )  # fmt: skip


def list_runs(root: str) -> None:
    """Run `assay records list` in this process."""
    commands.list_records.main(["--root", root], standalone_mode=False)


def measure_runs(counts: list[int], folder: Path | None, publishes: int) -> None:
    if folder:
        for count in counts:
            with tempfile.TemporaryDirectory(dir=folder) as root:
                _measure_root(f"{root}/root", count, publishes, None)
        return
    with serve_s3():
        s3_client.get_client().create_bucket(Bucket="bench")
        traffic = Traffic()
        for count in counts:
            _measure_root(f"s3://bench/{count}", count, publishes, traffic)


def _measure_root(root: str, count: int, publishes: int, traffic: Traffic | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        suite = {
            "name": "nightly", "dataset": {"source": str(write_jpegs(Path(folder) / "images", 3, 64, 48)), "limit": 3},
            "gate": {"metrics": {"repetition": {"margin": 0.1}}, "anchor": "first"},
        }  # fmt: skip
        (Path(folder) / "suite.yaml").write_text(yaml.safe_dump(suite))

        def plan_run(baseline: str | None = None) -> Spec:
            return plan(root, f"{folder}/suite.yaml", str(CHECKPOINT), baseline, by_hand=True)

        spec = plan_run()

        def write_record(record: Record) -> None:
            objects.write(f"{record.run_uri}/record.json", record.model_dump_json().encode())

        stored = [make_record(spec, number) for number in range(count)]
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(write_record, stored))
        index.add(root, stored)
        index.refresh(root, "nightly", {index.key_of(record): summarise_record(record) for record in stored})
        new = [make_record(spec, count + number) for number in range(publishes + 1 + AT_ONCE)]
        print(f"\n{count} runs in the index\n")
        print("| what | requests | MB | CPU s | wall s |\n| --- | --- | --- | --- | --- |", flush=True)

        def measure(what: str, work: Callable[[], Any]) -> None:
            before = (traffic.requests, traffic.bytes) if traffic else (0, 0)
            cpu, wall = time.process_time(), time.perf_counter()
            with redirect_stdout(StringIO()):
                work()
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            cells = (traffic.requests - before[0], f"{(traffic.bytes - before[1]) / 1e6:.2f}") if traffic else ("", "")
            print(f"| {what} | {cells[0]} | {cells[1]} | {cpu:.2f} | {wall:.2f} |", flush=True)

        def publish_at_once() -> None:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(lambda record: records.publish(root, record), new[publishes + 1 :]))

        current = describe_run(spec.checkpoint, spec.scoring_id, None, {})
        named = stored[count // 2].checkpoint.uri
        measure("plan, baseline `last-accepted`, anchor `first`", plan_run)
        measure("plan, baseline by name", lambda: plan_run(named))
        measure("publish", lambda: records.publish(root, new[0]))
        measure(f"{publishes} publishes, one after the other",
                lambda: [records.publish(root, record) for record in new[1 : publishes + 1]])  # fmt: skip
        measure(f"{AT_ONCE} publishes at once", publish_at_once)
        measure("publish once more", lambda: records.publish(root, new[1]))
        measure("the report's trend", lambda: build_trend(root, "nightly", spec.series_id, current, METRICS))
        measure("`assay records list`", lambda: list_runs(root))
        measure("a job's time limit", lambda: limits.limit_job_time("preprocess", spec, limits.RUN))
        measure("audits that are due", lambda: audit_selection.select_due(root, "nightly", datetime.now(UTC)))
        measure("`assay records rebuild`", lambda: index_rebuild.rebuild_index(root))
        objects.delete(f"{root}/index/nightly/index.json")
        measure("`assay records list`, index.json deleted", lambda: list_runs(root))
        measure("`assay records rebuild`, index.json deleted", lambda: index_rebuild.rebuild_index(root))
        assert len(index.load(root, "nightly").records) == count + len(new)
