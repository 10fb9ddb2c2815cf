"""An odd failure file does not stop the retries, which wait an hour, a night or for a person."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from assay_airflow import retries, router
from router_passes import NOW, write_run_spec

from ray_jobs.contract.artifacts import Failure
from ray_jobs.contract.spec import Spec
from ray_jobs.storage import objects

FAILURES = {
    "no JSON": b"{",
    "an array": b"[]",
    "nested": b"[" * 100_000,
    "binary": b"\xff\xfe\x00",
    "another kind": b'{"stage": "caption", "kind": "meltdown", "message": "m", "at": "2026-11-30T12:00:00Z"}',
    "no time": b'{"stage": "caption", "kind": "trouble", "message": "m"}',
    "the year 1": b'{"stage": "caption", "kind": "trouble", "message": "m", "at": "0001-01-01T00:00:00"}',
    "the year 9999": b'{"stage": "caption", "kind": "trouble", "message": "m", "at": "9999-12-31T23:59:59"}',
}


@pytest.mark.parametrize("content", FAILURES.values(), ids=FAILURES.keys())
def test_an_unreadable_failure_of_an_old_run_does_not_stop_its_retry(content: bytes, watched_folder: Path) -> None:
    spec = write_run_spec(watched_folder)
    write_failure(spec, content)

    def count_failed_run(run_ids: list[str], states: list[str] | None) -> int:
        return int(states is None and any("retry" not in run_id for run_id in run_ids))

    root = str(watched_folder.parent / "root")
    [request] = router.run_pass(root, "small", str(watched_folder), count_failed_run, "arrival", NOW).requests
    assert request["trigger_run_id"].endswith("__retry-20261130T12")


def write_failure(spec: Spec, content: bytes) -> None:
    objects.write(f"{spec.run_uri}/failure.json", content)


def failure_json(kind: Any, failed_at: datetime) -> bytes:
    return Failure(stage="caption", kind=kind, message="of the job", at=failed_at).model_dump_json().encode()


def test_retryable_failures_are_retried_by_the_hour_and_input_errors_by_a_person(
    watched_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, root = write_run_spec(watched_folder), str(watched_folder.parent / "root")
    ids: set[str] = {f"router__small__{spec.checkpoint.folder}"}

    def count(run_ids: list[str], states: list[str] | None) -> int:
        return 0 if states else len(ids & set(run_ids))

    def list_retries(occasion: router.Occasion, now: datetime = NOW) -> list[str]:
        requests = router.run_pass(root, "small", str(watched_folder), count, occasion, now).requests
        return [request["trigger_run_id"].rpartition("__")[2] for request in requests]

    write_failure(spec, failure_json("trouble", NOW.replace(minute=10)))
    assert list_retries("arrival") == [], "not within the hour"
    assert list_retries("arrival", NOW.replace(hour=13)) != []
    write_failure(spec, failure_json("trouble", NOW.replace(hour=9)))
    assert list_retries("arrival") == ["retry-20261130T12"]
    ids.add(f"router__small__{spec.checkpoint.folder}__retry-20261130T12")
    assert list_retries("arrival", NOW.replace(minute=59)) == []
    assert list_retries("arrival", NOW.replace(hour=13)) == [], "the pause has doubled"
    assert list_retries("arrival", NOW.replace(hour=14)) == ["retry-20261130T14"]
    assert list_retries("night") == ["retry-20261130"]
    write_failure(spec, failure_json("bad-input", NOW.replace(hour=9)))
    capsys.readouterr()
    assert (list_retries("arrival", NOW.replace(hour=20)), list_retries("night")) == ([], [])
    assert "waits for a person: good" in capsys.readouterr().out
    assert list_retries("person") == ["retry-20261130"]


def test_an_input_error_is_forgotten_when_the_suite_has_changed(watched_folder: Path) -> None:
    spec, root = write_run_spec(watched_folder), str(watched_folder.parent / "root")
    write_failure(spec, failure_json("bad-input", NOW))
    assert retries.find_last_failure(root, "small", spec.checkpoint) is not None
    (watched_folder.parent / "suites" / "small.yaml").write_text(
        "name: small\ndataset: {source: /data/images, limit: 7}\n"
    )
    assert retries.find_last_failure(root, "small", spec.checkpoint) is None
