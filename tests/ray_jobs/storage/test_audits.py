"""Audits in storage: one for each caption id, for every writer, and which of them count as passed."""

from datetime import UTC, datetime
from typing import Any

import pytest
from samples import make_spec

from ray_jobs.contract.artifacts import Manifest
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import audits, objects
from ray_jobs.storage.audits import Audit, Difference


def audit(**reason: Any) -> Audit:
    spec = make_spec()
    whose = {"caption_id": spec.caption_id, "checkpoint": spec.checkpoint, "created_at": datetime.now(UTC)}
    return Audit(**whose | {"images": 3, "equal": 3} | reason)


DIFFERENT = {"equal": 1, "ties": 1, "differing": 1, "worst_gap": None}


def test_the_first_one_stands(store: str) -> None:
    assert audits.read(store) is None
    difference = Difference(image_id="a", stored="one cat", fresh="one dog", gap=None)
    first = audits.commit(store, audit(**DIFFERENT, differences=(difference,)))
    assert audits.commit(store, audit()) == first
    assert audits.read(store) == first
    assert first.differing == 1


@pytest.mark.parametrize(
    ("reason", "passed"),
    [
        ({}, True),
        ({"equal": 2, "ties": 1}, True),
        (DIFFERENT, False),
        ({"images": 0, "equal": 0, "not_audited": "engine.audit is 0"}, False),
    ],
)
def test_what_is_passed(store: str, reason: dict[str, Any], passed: bool) -> None:
    assert not audits.has_passed(store)
    audits.commit(store, audit(**reason))
    assert audits.has_passed(store) is passed


def test_an_invalid_audit_is_reported_and_has_not_passed(store: str) -> None:
    objects.write(audits.uri_of(store), b"{}")
    assert not audits.has_passed(store)
    with pytest.raises(InputError, match=r"audit.json: not an audit \(ValidationError\); delete it and audit again"):
        audits.read(store)


def test_an_audit_whose_sum_does_not_hold_is_not_written() -> None:
    with pytest.raises(ValueError, match="3 audited, 2 equal, 0 ties, 0 differ"):
        audit(equal=2)


def test_what_cannot_be_audited() -> None:
    assert audits.why_impossible(make_spec()) is None
    assert audits.why_impossible(make_spec(engine__audit=0)) == "engine.audit is 0"
    assert "temperature 0.7: " in str(audits.why_impossible(make_spec(caption__temperature=0.7)))


@pytest.mark.parametrize(
    ("details", "is_swapped"),
    [
        ({"engine": {"kind": "warm", "warm": True, "swapped": True}}, True),
        ({"engine": {"kind": "warm", "warm": False, "swapped": False}}, False),
        ({"engine": {"kind": "warm", "warm": False}}, True),  # of a version that did not say
        ({}, True),
    ],
)
def test_captions_without_an_engine_report_count_as_a_swapped_engines(
    details: dict[str, Any], is_swapped: bool
) -> None:
    sums: dict[str, Any] = {"rows_in": 0, "rows_out": 0, "parts": (), "created_at": datetime.now(UTC)}
    assert Manifest(stage="captions", id="c", details=details, **sums).weights_swapped is is_swapped
