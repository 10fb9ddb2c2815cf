"""36 odd checkpoint folders beside a good one: the good one is validated, each odd one is named once."""

import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from odd_folders import ODD, write
from running_stack import CHECKPOINTS, Stack, assert_nothing_lost, wait

pytestmark = pytest.mark.timeout(1500)
FOLDERS = [
    "config: null", "config: an array", "config: nested arrays", "config: nested objects", "config: half a surrogate",
    "config: not UTF-8", "config: a FIFO", "config: a link to a device", "config: missing",
    "config: a gigabyte, sparse",
    "index: weight_map null", "index: weight_map an array", "index: weight_map mixed", "index: weight_map of objects",
    "index: a shard above", "index: a shard with a null byte", "index: 3,000 shards", "header: 2^63 long",
    "header: 99 MB, sparse", "header: offsets Infinity", "header: offsets 1e999", "header: offsets of texts",
    "header: offsets negative", "header: nested", "shard: a FIFO", "shard: missing", "shard: cut in its data",
    "a file: not UTF-8", "adapter: r NaN", "adapter: base is /", "adapter: rank_pattern that never ends",
    "a link to /usr",
]  # fmt: skip
NAMES = ["10²", os.fsdecode(b"step-\xff"), "step-1 {{ macros.uuid.os.system('id') }}", "step-1\nto validate: step-2"]


def test_the_good_checkpoint_is_validated_and_each_odd_folder_named_once(stack: Stack, tmp_path: Path) -> None:
    # The best checkpoint, so that it passes against any baseline that an earlier test left.
    shutil.copytree(CHECKPOINTS / "step-0800", tmp_path / "good-800")
    for number, kind in enumerate(FOLDERS):
        ODD[kind](tmp_path / f"odd-{number:02d}")
    for name in NAMES:
        write(tmp_path / name, {})
    assert len(list(tmp_path.iterdir())) == 36 + 1

    request_body = {"logical_date": None, "conf": {"checkpoints": str(tmp_path), "suite": "quick"}}
    answer = stack.api._read_json(stack.api._client.post("/api/v2/dags/checkpoint_router/dagRuns", json=request_body))
    tasks = f"/api/v2/dags/checkpoint_router/dagRuns/{quote(answer['dag_run_id'])}/taskInstances"
    wait(lambda: _state_of_reconcile(stack, tasks) == "success", 300, "the router's pass")
    summary = _read_xcom(stack, f"{tasks}/reconcile/xcomEntries/summary")
    [request] = _read_xcom(stack, f"{tasks}/reconcile/xcomEntries/return_value")

    assert summary["line"] == "36 passed over, 1 to validate"
    counts = Counter(number for line in summary["passed_over"] for number in _odd_numbers_in(line))
    assert counts == Counter(range(len(FOLDERS)))
    assert sum("rename the folder" in line for line in summary["passed_over"]) == len(NAMES)
    assert all(line.isprintable() for line in summary["passed_over"])
    assert request["conf"]["checkpoint"] == f"{tmp_path}/good-800"
    run_id = request["trigger_run_id"]
    wait(lambda: run_id in stack.runs(), 120, "the run of the good one")
    assert stack.finish(run_id) == "success"
    assert_nothing_lost(stack.record(run_id))
    assert not [other for other in stack.runs() if "odd" in other], "an odd one was asked for"


def _odd_numbers_in(line: str) -> set[int]:
    """The numbers of the odd folders that the line names."""
    return {number for number in range(len(FOLDERS)) if f"/odd-{number:02d}" in line}


def _state_of_reconcile(stack: Stack, tasks: str) -> Any:
    instances = stack.api.get(tasks)["task_instances"]
    return next((task["state"] for task in instances if task["task_id"] == "reconcile"), None)


def _read_xcom(stack: Stack, path: str) -> Any:
    return stack.api._read_json(stack.api._client.get(path, params={"deserialize": True}))["value"]
