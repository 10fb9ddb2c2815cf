"""kill -9 of each process once during one run: the run completes by itself, with every image once."""

import shutil
import time
from urllib.parse import quote

import psutil
import pytest
import yaml
from running_stack import IMAGES, Stack, assert_nothing_lost, manifest, upload, wait

from dev.airflow_api import DAG
from ray_jobs.storage import object_listing

COPIES, SCENES = 4, 256
pytestmark = pytest.mark.timeout(1500)


def list_parts(uri: str) -> dict[str, str]:
    """The caption parts in storage, with their versions."""
    return {entry.key: entry.version for entry in object_listing.iterate_entries(f"{uri}/parts")}


def kill_process(process: psutil.Process) -> None:
    process.kill()
    process.wait(30)


def kill_task_process(stack: Stack, run_id: str, task: str) -> None:
    """Kill the process that runs the task's first try as soon as it exists."""
    limit = time.monotonic() + 300
    path = f"/api/v2/dags/{DAG}/dagRuns/{quote(run_id)}/taskInstances/{task}"
    while time.monotonic() < limit:
        if processes := stack.process(f"airflow worker -- {stack.api.get(path)['id']}"):
            return kill_process(processes[0])
        time.sleep(0.05)
    pytest.fail(f"task {task} was never seen running")


@pytest.fixture
def slow_suite(stack: Stack) -> str:
    """A suite that captions the drawn scenes four times, one image at a time: about a minute for the kills."""
    folder = stack.settings.run / "images"
    for copy in range(COPIES):
        shutil.copytree(IMAGES / "scenes", folder / f"copy-{copy}")
    suite = {
        "name": "slow",
        "dataset": {"source": str(folder)},
        "preprocess": {"max_pixels": 12544, "format": "png", "part_rows": 32, "duplicates": "keep"},
        "caption": {"prompt": "describe the image", "max_tokens": 32},
        "engine": {"dtype": "float32", "max_model_len": 512, "max_num_seqs": 1, "enforce_eager": True},
    }
    file = stack.settings.run / "slow.yaml"
    file.write_text(yaml.safe_dump(suite))
    return str(file)


def test_a_run_survives_one_kill_of_each_process(stack: Stack, slow_suite: str) -> None:
    run_id = stack.trigger(upload("step-0800", "s3://assay/by-hand/kills"), suite=slow_suite, baseline="none")
    spec = stack.spec(run_id)

    kill_task_process(stack, run_id, "caption")
    caption_id = wait(lambda: _caption_id(stack), 300, "the caption job")
    captions = f"{spec['root']}/captions/{caption_id}"

    wait(lambda: len(list_parts(captions)) >= 2, 300, "two parts")
    # The newest: an earlier test's engine may still be warm.
    kill_process(max(stack.process("VLLM::EngineCore"), key=psutil.Process.create_time))
    kill_process(stack.process("airflow triggerer")[0])
    kill_process(stack.process("airflow scheduler")[0])

    parts_before = list_parts(captions)
    wait(lambda: len(list_parts(captions)) >= len(parts_before) + 2, 300, "two more parts after the engine died")
    parts_before = list_parts(captions)
    [driver] = wait(lambda: stack.process("-m ray_jobs.caption"), 60, "the caption driver")[-1:]
    kill_process(driver)

    assert stack.finish(run_id, seconds=900) == "success"
    parts_after = list_parts(captions)
    assert {name: parts_after[name] for name in parts_before} == parts_before, "a part that was done was done again"
    record = stack.record(run_id)
    assert_nothing_lost(record, offered=COPIES * SCENES)
    assert len(manifest(captions).parts) == len(parts_after)
    statuses = [job["status"] for job in stack.ray_jobs() if caption_id in job["submission_id"]]
    assert statuses.count("SUCCEEDED") == 1


def _caption_id(stack: Stack) -> str:
    ids = [job["submission_id"] for job in stack.ray_jobs() if job["submission_id"].startswith("assay-caption-")]
    running_ids = [job["submission_id"] for job in stack.ray_jobs() if job["status"] == "RUNNING"]
    return next((job_id.split("-")[2] for job_id in ids if job_id in running_ids), "")
