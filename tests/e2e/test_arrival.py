"""A checkpoint arrives shard by shard, is validated once it is whole, and again when it is overwritten."""

from urllib.parse import quote

import pytest
from running_stack import WATCHED, Stack, assert_nothing_lost, mean, upload, wait

from ray_jobs.storage import objects

pytestmark = pytest.mark.timeout(1500)
LAST = "model-00002-of-00002.safetensors"


def trigger_router_pass(stack: Stack) -> None:
    """Trigger one pass of the router by hand and wait for it."""
    answer = stack.api._client.post("/api/v2/dags/checkpoint_router/dagRuns", json={"logical_date": None})
    run_id = stack.api._read_json(answer)["dag_run_id"]
    wait(lambda: has_reconciled(stack, run_id), 300, "the router's pass")


def has_reconciled(stack: Stack, run_id: str) -> bool:
    path = f"/api/v2/dags/checkpoint_router/dagRuns/{quote(run_id)}/taskInstances"
    return any(
        task["task_id"] == "reconcile" and task["state"] == "success" for task in stack.api.get(path)["task_instances"]
    )


def list_validations(stack: Stack, name: str) -> list[str]:
    return sorted(run_id for run_id in stack.runs() if f"__{name}-" in run_id)


def test_a_checkpoint_is_validated_once_and_only_when_it_is_whole(stack: Stack) -> None:
    uri = upload("step-0300", f"{WATCHED}/vlm-300", only=lambda file: file != LAST)
    trigger_router_pass(stack)
    assert list_validations(stack, "vlm-300") == []

    upload("step-0300", uri, only=lambda file: file == LAST)
    run_id = wait(lambda: list_validations(stack, "vlm-300"), 120, "the watcher to see the checkpoint")[0]
    assert stack.finish(run_id) == "success"
    record = stack.record(run_id)
    assert record.verdict.outcome == "PASS"
    assert_nothing_lost(record)

    trigger_router_pass(stack)
    trigger_router_pass(stack)
    assert list_validations(stack, "vlm-300") == [run_id]


def test_an_overwritten_checkpoint_is_validated_again(stack: Stack) -> None:
    [first] = list_validations(stack, "vlm-300")
    upload("step-0809", f"{WATCHED}/vlm-300")
    second = wait(lambda: [run for run in list_validations(stack, "vlm-300") if run != first], 180, "the router")[0]
    stack.finish(second)
    old, new = stack.record(first), stack.record(second)
    assert old.checkpoint.uri == new.checkpoint.uri
    assert old.checkpoint.fingerprint != new.checkpoint.fingerprint
    assert old.golden_id == new.golden_id
    assert mean(new, "exact_match") > mean(old, "exact_match")
    assert objects.exists(f"{old.run_uri}/record.json")
    assert_nothing_lost(new)
