"""Caption with two checkpoints on two engines. The first's rows wait until the second engine has started: a job that
is done before that ends it. The second's rows wait until the test has killed an engine."""

import logging
import os
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
from scenes import ARGUMENTS, ENGINE, build_requests, caption_scenes, print_result, wait_for_test

from ray_jobs.engine.client.eviction import NAMESPACE

METRICS = ("ray_assay_answers", "ray_assay_swap_seconds", "ray_vllm")
first, second, place = ARGUMENTS
engine = ENGINE.model_copy(update={"replicas": 2})
logging.getLogger("assay").addHandler(logging.StreamHandler(sys.stdout))
logging.getLogger("assay").setLevel(logging.INFO)


def build_when_started(part: str, rows: Sequence[int], maker: Any) -> Iterator[Any]:
    wait_for_file("started")
    yield from build_requests(part, rows, maker)


def build_when_released(part: str, rows: Sequence[int], maker: Any) -> Iterator[Any]:
    Path(place, f"asked-{os.getpid()}").touch()
    wait_for_file("go")
    yield from build_requests(part, rows, maker)


def wait_for_file(name: str) -> None:
    end = time.monotonic() + 300
    while not Path(place, name).exists():
        assert time.monotonic() < end, f"nobody has written {name}"
        time.sleep(0.1)


def announce_further_engine() -> None:
    """Write `started` once there is a second engine that answers."""
    while not (engines := list_further_engines()):
        time.sleep(0.2)
    ray.get(engines[0].release.remote("nobody"))
    Path(place, "started").touch()


def list_further_engines() -> list[Any]:
    actors = ray.util.list_named_actors(all_namespaces=True)
    names = [actor["name"] for actor in actors if actor["namespace"] == NAMESPACE]
    return [ray.get_actor(name, NAMESPACE) for name in names if name.endswith("-2")]


def await_metrics() -> None:
    port, end = ray.nodes()[0]["MetricsExportPort"], time.time() + 30
    while True:
        exported = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
        if all(name in exported for name in METRICS):
            return
        assert time.time() < end, exported[-3000:]
        time.sleep(1)


threading.Thread(target=announce_further_engine, daemon=True).start()
runs = [caption_scenes(first, build_when_started, engine=engine)]
wait_for_test()
runs.append(caption_scenes(second, build_when_released, engine=engine))
await_metrics()
print_result(runs)
