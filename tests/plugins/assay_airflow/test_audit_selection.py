import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException
from assay_airflow import audit_selection, tasks
from specs import audit, captioned, record, spec_in

from ray_jobs.contract.spec import Spec
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import objects, records

NOW = datetime(2026, 11, 25, 6, tzinfo=UTC)


def run_of(root: Path, number: int, hours_ago: float = 1, swapped: bool = True, **update: Any) -> Spec:
    """A run that was published so many hours ago, its captions complete."""
    spec = spec_in(root, fingerprint=f"{number:016x}", write=False)
    checkpoint = spec.checkpoint.model_copy(update={"uri": f"/models/step-{number}", "name": f"step-{number}"})
    suite = spec.suite.model_copy(update={"name": update.pop("suite", "small")})
    for section, settings in update.items():
        suite = suite.model_copy(update={section: getattr(suite, section).model_copy(update=settings)})
    spec = spec.model_copy(update={"checkpoint": checkpoint, "suite": suite})
    objects.write(spec.uri, spec.model_dump_json().encode())
    captioned(spec, swapped)
    at = NOW - timedelta(hours=hours_ago)
    records.publish(spec.root, record(spec).model_copy(update={"published_at": at}))
    return spec


def due(root: Path, suite: str | None = None) -> list[str]:
    return audit_selection.select_due(str(root), suite, NOW)


def test_the_newest_of_each_suite(tmp_path: Path) -> None:
    run_of(tmp_path, 1, 5)
    newest = run_of(tmp_path, 2, 3)
    other = run_of(tmp_path, 1, 7, suite="other")
    assert due(tmp_path) == [other.uri, newest.uri]
    assert due(tmp_path, "small") == [newest.uri]
    assert due(tmp_path, "none") == []


def test_what_is_a_day_old_is_left_alone(tmp_path: Path) -> None:
    young = run_of(tmp_path, 1, 23.9)
    run_of(tmp_path, 2, 24.1, suite="other")
    assert due(tmp_path) == [young.uri]


@pytest.mark.parametrize(
    ("newest", "told"),
    [
        ({"swapped": False}, "needs no audit: step-2"),
        ({"engine": {"audit": 0}}, "not audited: step-2 .*: engine.audit is 0"),
        ({"caption": {"temperature": 1.0}}, "not audited: step-2 .*: temperature 1: "),
    ],
)
def test_what_needs_none_or_cannot_have_one_is_passed_over_for_the_one_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], newest: dict[str, Any], told: str
) -> None:
    before = run_of(tmp_path, 1, 2)
    run_of(tmp_path, 2, 1, **newest)
    assert due(tmp_path) == [before.uri]
    assert re.search(told, capsys.readouterr().out)


@pytest.mark.parametrize("counts", [{"equal": 3}, {"equal": 1, "differing": 2}])
def test_what_has_an_audit_is_not_audited_again_whatever_it_found(tmp_path: Path, counts: dict[str, int]) -> None:
    before, newest = run_of(tmp_path, 1, 2), run_of(tmp_path, 2, 1)
    audit(newest, **counts)
    assert due(tmp_path) == [before.uri]
    audit(before, **counts)
    assert due(tmp_path) == []


def test_captions_that_are_being_made_anew_and_specs_of_another_version_are_passed_over(tmp_path: Path) -> None:
    before, unreadable, incomplete = (run_of(tmp_path, number, 4 - number) for number in (1, 2, 3))
    objects.write(unreadable.uri, b'{"version": 0}')
    objects.delete(f"{incomplete.captions_uri}/manifest.json")
    assert due(tmp_path) == [before.uri]


def test_a_run_that_was_only_ever_forced_is_found_by_its_own_spec(tmp_path: Path) -> None:
    plain = run_of(tmp_path, 1)
    objects.delete(plain.uri)
    forced = plain.model_copy(update={"force": "manual__1"})
    objects.write(forced.uri, forced.model_dump_json().encode())
    assert due(tmp_path) == [forced.uri]


def test_a_person_names_a_checkpoint_or_a_run_whatever_made_its_captions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_ROOT", str(tmp_path))
    old = run_of(tmp_path, 1, 100, swapped=False)
    other = run_of(tmp_path, 1, 50, suite="other")
    assert tasks.select_audits("/models/step-1") == [other.uri, old.uri]
    assert tasks.select_audits("/models/step-1/", "small") == [old.uri]
    assert tasks.select_audits(old.run_uri) == [old.uri]
    with pytest.raises(InputError, match="checkpoint /models/step-2: no run of it in suite any; validate it first"):
        tasks.select_audits("/models/step-2")
    with pytest.raises(InputError, match="no run of it in suite none; "):
        tasks.select_audits("/models/step-1", "none")


def test_a_night_without_a_swap_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_ROOT", str(tmp_path))
    with pytest.raises(AirflowSkipException, match="nothing to audit"):
        tasks.select_audits()
