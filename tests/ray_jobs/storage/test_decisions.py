"""What people decide about runs: kept whole, in order, and followed by the baseline."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from published_series import name_of, publish_run
from samples import make_record, make_spec

from ray_jobs.contract.artifacts import Record
from ray_jobs.contract.spec import Spec
from ray_jobs.contract.stored_model import NewerSchema
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import baselines, decisions, objects, records
from ray_jobs.storage.object_listing import iterate_entries


def record_of(spec: Spec) -> Record:
    return records.read(spec.run_uri)


def decide(spec: Spec, accepted: bool, reason: str = "seen by us", seen: int | None = None) -> int:
    return decisions.decide(spec.root, record_of(spec), accepted, reason, "ada", seen).number


def last_accepted(store: str, **suite: Any) -> str | None:
    return name_of(baselines.find_baseline(make_spec(root=store, **suite), "last-accepted"))


def test_the_baseline_follows_the_last_acceptance(store: str) -> None:
    passed, failed = publish_run(store, 1, "PASS"), publish_run(store, 2, "FAIL")
    assert last_accepted(store) == "step-1"
    decide(failed, True)
    assert last_accepted(store) == "step-2"
    decide(passed, True)  # promoted: an older run is the baseline again
    assert last_accepted(store) == "step-1"
    decide(passed, False)
    assert last_accepted(store) == "step-2"
    decide(failed, False)
    assert last_accepted(store) is None


def test_a_later_pass_is_accepted_after_a_decision(store: str) -> None:
    failed = publish_run(store, 1, "FAIL")
    decide(failed, True)
    later = make_spec(root=store, fingerprint="2" * 16, called="step-2")
    objects.write(later.uri, later.model_dump_json().encode())
    records.publish(store, make_record(later, "PASS", datetime.now(UTC) + timedelta(minutes=1)))
    assert last_accepted(store) == "step-2"


def test_where_a_person_is_asked_no_pass_is_accepted_by_itself(store: str) -> None:
    passed = publish_run(store, 1, "PASS")
    assert last_accepted(store, gate__ask=("PASS",)) is None
    decide(passed, True)
    assert last_accepted(store, gate__ask=("PASS",)) == "step-1"


def test_the_first_accepted_run_is_the_anchor(store: str) -> None:
    first, _ = publish_run(store, 1, "PASS"), publish_run(store, 2, "PASS")
    spec = make_spec(root=store)
    assert name_of(baselines.find_anchor(spec, "first")) == "step-1"
    decide(first, False)
    assert name_of(baselines.find_anchor(spec, "first")) == "step-2"


def test_a_decision_about_another_outcome_counts_no_more(store: str) -> None:
    spec = publish_run(store, 1, "FAIL")
    decide(spec, True)
    records.publish(store, make_record(spec, "INCONCLUSIVE", datetime.now(UTC)), replace=True)
    assert last_accepted(store) is None
    decide(spec, True)
    assert last_accepted(store) == "step-1"


def test_what_is_refused(store: str) -> None:
    incomplete, failed = publish_run(store, 1, "INCOMPLETE"), publish_run(store, 2, "FAIL")
    with pytest.raises(InputError, match=r"INCOMPLETE, so there is nothing to accept; mend what its reason names"):
        decide(incomplete, True)
    for reason in (" \n", "x" * 2001):
        with pytest.raises(InputError, match=r"its reason has (0|2001) characters; give one of 1 to 2000"):
            decide(failed, True, reason)
    with pytest.raises(InputError, match="the name of who decides has 0 characters; give one"):
        decisions.decide(store, record_of(failed), True, "a reason", " ")
    assert decisions.list_decisions(store, "small") == []


def test_who_has_not_seen_the_last_decision_is_told(store: str) -> None:
    spec, other = publish_run(store, 1, "FAIL"), publish_run(store, 2, "FAIL")
    assert decide(spec, True, seen=0) == 1
    assert decide(spec, True, seen=0) == 1  # tried again after its answer was lost
    with pytest.raises(InputError, match="ada decided about step-1 meanwhile; look again, then decide"):
        decide(other, True, seen=0)
    assert decide(other, True, seen=1) == 2


def test_concurrent_decisions_all_stay(store: str) -> None:
    spec = publish_run(store, 1, "FAIL")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: decide(spec, True, f"reason {number}"), range(8)))
    assert sorted(each.reason for each in decisions.list_decisions(store, "small")) == [
        f"reason {number}" for number in range(8)
    ]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"number": 1}', b"\xff" * 100])
def test_an_odd_file_is_left_out_and_its_number_not_used_again(
    store: str, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    spec = publish_run(store, 1, "FAIL")
    folder = f"{store}/decisions/small/{spec.series_id}"
    objects.write(f"{folder}/000001-0123abcd.json", content)
    objects.write(f"{folder}/notes.json", b"{}")
    assert decide(spec, True, seen=0) == 2
    (written,) = (entry.key for entry in iterate_entries(folder) if entry.key.startswith("000002-"))
    objects.write(f"{folder}/000003-0123abcd.json", objects.read(f"{folder}/{written}"))
    assert [each.number for each in decisions.list_decisions(store, "small")] == [2]
    assert "000001-0123abcd.json is left out: no decision of this version" in caplog.text
    assert "000003-0123abcd.json is left out: its content is of another place" in caplog.text
    assert last_accepted(store) == "step-1"


def test_a_decision_of_a_newer_version_stops_the_choice(store: str) -> None:
    spec = publish_run(store, 1, "FAIL")
    objects.write(f"{store}/decisions/small/{spec.series_id}/000001-0123abcd.json", b'{"schema": 9}')
    with pytest.raises(NewerSchema, match=r"000001-0123abcd\.json: made by a newer Assay"):
        last_accepted(store)
