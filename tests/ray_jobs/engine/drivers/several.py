"""Caption with two checkpoints on two engines. With the second, the rows wait until the test has killed an engine."""

import logging
import os
import sys
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


def build_when_released(part: str, rows: Sequence[int], maker: Any) -> Iterator[Any]:
    Path(place, f"asked-{os.getpid()}").touch()
    while not Path(place, "go").exists():
        time.sleep(0.1)
    yield from build_requests(part, rows, maker)


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


runs = [caption_scenes(first, engine=engine)]
while not list_further_engines():
    time.sleep(0.2)
ray.get(list_further_engines()[0].release.remote("nobody"))  # answered once it has started
wait_for_test()
runs.append(caption_scenes(second, build_when_released, engine=engine))
await_metrics()
print_result(runs)
