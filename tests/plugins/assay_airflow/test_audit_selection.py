import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException
from assay_airflow import audit_selection, tasks
from specs import make_record, make_spec, write_audit, write_captions_manifest

from ray_jobs.contract.spec import Spec
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import objects, records

NOW = datetime(2026, 11, 25, 6, tzinfo=UTC)


def publish_run(root: Path, number: int, hours_ago: float = 1, swapped: bool = True, **update: Any) -> Spec:
    """A run with complete captions that was published `hours_ago`."""
    spec = make_spec(root, fingerprint=f"{number:016x}", write=False)
    checkpoint = spec.checkpoint.model_copy(update={"uri": f"/models/step-{number}", "name": f"step-{number}"})
    suite = spec.suite.model_copy(update={"name": update.pop("suite", "small")})
    for section, settings in update.items():
        suite = suite.model_copy(update={section: getattr(suite, section).model_copy(update=settings)})
    spec = spec.model_copy(update={"checkpoint": checkpoint, "suite": suite})
    objects.write(spec.uri, spec.model_dump_json().encode())
    write_captions_manifest(spec, swapped)
    published_at = NOW - timedelta(hours=hours_ago)
    records.publish(spec.root, make_record(spec).model_copy(update={"published_at": published_at}))
    return spec


def select_due(root: Path, suite: str | None = None) -> list[str]:
    return audit_selection.select_due(str(root), suite, NOW)


def test_the_newest_run_of_each_suite_is_due(tmp_path: Path) -> None:
    publish_run(tmp_path, 1, 5)
    newest = publish_run(tmp_path, 2, 3)
    other = publish_run(tmp_path, 1, 7, suite="other")
    assert select_due(tmp_path) == [other.uri, newest.uri]
    assert select_due(tmp_path, "small") == [newest.uri]
    assert select_due(tmp_path, "none") == []


def test_a_run_older_than_a_day_is_not_due(tmp_path: Path) -> None:
    young = publish_run(tmp_path, 1, 23.9)
    publish_run(tmp_path, 2, 24.1, suite="other")
    assert select_due(tmp_path) == [young.uri]


@pytest.mark.parametrize(
    ("newest", "line"),
    [
        ({"swapped": False}, "needs no audit: step-2"),
        ({"engine": {"audit": 0}}, "not audited: step-2 .*: engine.audit is 0"),
        ({"caption": {"temperature": 1.0}}, "not audited: step-2 .*: temperature 1: "),
    ],
)
def test_if_the_newest_run_cannot_be_audited_the_one_before_is_due(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], newest: dict[str, Any], line: str
) -> None:
    before = publish_run(tmp_path, 1, 2)
    publish_run(tmp_path, 2, 1, **newest)
    assert select_due(tmp_path) == [before.uri]
    assert re.search(line, capsys.readouterr().out)


@pytest.mark.parametrize("counts", [{"equal": 3}, {"equal": 1, "differing": 2}])
def test_an_audited_run_is_not_due_again_whatever_the_result(tmp_path: Path, counts: dict[str, int]) -> None:
    before, newest = publish_run(tmp_path, 1, 2), publish_run(tmp_path, 2, 1)
    write_audit(newest, **counts)
    assert select_due(tmp_path) == [before.uri]
    write_audit(before, **counts)
    assert select_due(tmp_path) == []


def test_runs_without_captions_and_with_unreadable_specs_are_passed_over(tmp_path: Path) -> None:
    before, unreadable, incomplete = (publish_run(tmp_path, number, 4 - number) for number in (1, 2, 3))
    objects.write(unreadable.uri, b'{"version": 0}')
    objects.delete(f"{incomplete.captions_uri}/manifest.json")
    assert select_due(tmp_path) == [before.uri]


def test_a_run_with_only_a_forced_spec_is_due_by_that_spec(tmp_path: Path) -> None:
    plain = publish_run(tmp_path, 1)
    objects.delete(plain.uri)
    forced = plain.model_copy(update={"force": "manual__1"})
    objects.write(forced.uri, forced.model_dump_json().encode())
    assert select_due(tmp_path) == [forced.uri]


def test_a_person_may_select_any_run_by_its_checkpoint_or_its_uri(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_ROOT", str(tmp_path))
    old = publish_run(tmp_path, 1, 100, swapped=False)
    other = publish_run(tmp_path, 1, 50, suite="other")
    assert tasks.select_audits("/models/step-1") == [other.uri, old.uri]
    assert tasks.select_audits("/models/step-1/", "small") == [old.uri]
    assert tasks.select_audits(old.run_uri) == [old.uri]
    with pytest.raises(InputError, match="checkpoint /models/step-2: no run of it in suite any; validate it first"):
        tasks.select_audits("/models/step-2")
    with pytest.raises(InputError, match="no run of it in suite none; "):
        tasks.select_audits("/models/step-1", "none")


def test_a_night_without_a_swap_selects_no_audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_ROOT", str(tmp_path))
    with pytest.raises(AirflowSkipException, match="nothing to audit"):
        tasks.select_audits()
