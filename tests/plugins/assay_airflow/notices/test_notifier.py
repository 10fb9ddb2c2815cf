import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from assay_airflow.notices import channels, once
from assay_airflow.notices.notifier import AuditNotifier, VerdictNotifier
from receivers import WebServer
from specs import make_record, make_spec

from ray_jobs.contract.spec import Checkpoint, Spec
from ray_jobs.storage import objects, records

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _tell_the_hook(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_NOTIFY", "hook")
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://host/airflow")


def publish(root: Path, step: int, outcome: str, hours: float = 0, run: str | None = None) -> Spec:
    """A published run of checkpoint `step-N`, so many hours after noon."""
    spec = make_spec(root, write=False)
    fingerprint = f"{step:016x}"
    checkpoint = Checkpoint(uri=f"/models/step-{step}", name=f"step-{step}", fingerprint=fingerprint)
    spec = spec.model_copy(update={"checkpoint": checkpoint, "force": run})
    objects.write(spec.uri, spec.model_dump_json().encode())
    record = make_record(spec, outcome)
    records.publish(spec.root, record.model_copy(update={"published_at": NOON + timedelta(hours=hours)}))
    return spec


def end(spec: Spec, notifier: type = VerdictNotifier, exception: Exception | None = None) -> None:
    """Call the notifier as Airflow does at the end of a task that failed."""
    ti = SimpleNamespace(task=SimpleNamespace(spec_uri=spec.uri), dag_id="validate_checkpoint", run_id="manual__1")
    context: Any = {"ti": ti, "exception": exception, "dag": None}
    notifier()(context)


def read_sentences(web: WebServer) -> list[str]:
    return [body["sentence"] for _, _, body in web.posts]


@pytest.mark.parametrize("outcome", ["FAIL", "INCOMPLETE"])
def test_a_bad_verdict_is_one_sentence_and_one_link(tmp_path: Path, web: WebServer, outcome: str) -> None:
    end(publish(tmp_path, 1, outcome))
    [(_, _, body)] = web.posts
    assert body["sentence"] == f"{outcome} step-1 (suite small): as told"
    assert body["link"] == "https://host/airflow/assay/?page=run&dag=validate_checkpoint&dag_run=manual__1"


@pytest.mark.parametrize("outcome", ["PASS", "INCONCLUSIVE"])
def test_another_verdict_is_not_told(tmp_path: Path, web: WebServer, outcome: str) -> None:
    end(publish(tmp_path, 1, outcome))
    assert web.posts == []


def test_a_checkpoint_is_told_once_however_often_it_is_validated(tmp_path: Path, web: WebServer) -> None:
    spec = publish(tmp_path, 1, "FAIL")
    end(spec)
    end(spec)
    end(publish(tmp_path, 1, "FAIL", hours=30, run="again"))
    assert len(web.posts) == 1


def test_a_task_that_was_killed_while_it_sent_leaves_the_message_to_the_next(
    tmp_path: Path, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = publish(tmp_path, 1, "FAIL")
    with monkeypatch.context() as patch:
        patch.setattr(channels, "send", lambda _: sys.exit(9))  # stands for a kill
        with pytest.raises(SystemExit):
            end(spec)
    end(spec)  # the other may still be sending
    assert web.posts == []
    monkeypatch.setattr(once, "SENDING", timedelta(0))
    end(spec)
    end(spec)
    assert len(web.posts) == 1


def test_a_series_that_is_known_to_be_bad_is_told_once_a_day(tmp_path: Path, web: WebServer) -> None:
    for step, hours in ((1, 0), (2, 1), (3, 2), (4, 20), (5, 21)):
        end(publish(tmp_path, step, "FAIL", hours))
    end(publish(tmp_path, 6, "PASS", 22))
    end(publish(tmp_path, 7, "FAIL", 23))
    assert read_sentences(web) == [
        "FAIL step-1 (suite small): as told",
        "FAIL step-4 (suite small, the 4th checkpoint in a row): as told",
        "FAIL step-7 (suite small): as told",
    ]


def test_a_message_that_no_channel_took_is_told_by_the_next_try(tmp_path: Path, web: WebServer) -> None:
    spec = publish(tmp_path, 1, "FAIL")
    web.status = 503
    end(spec)
    web.status = 200
    end(spec)
    end(spec)
    assert len(web.posts) == 2


def test_a_notifier_that_fails_raises_nothing(
    tmp_path: Path, web: WebServer, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = make_spec(tmp_path)  # without a record
    end(spec)
    assert web.posts == []
    assert "Nobody was told: FileNotFoundError" in capsys.readouterr().out


def test_a_red_audit_is_told_with_its_reason(tmp_path: Path, web: WebServer) -> None:
    spec = publish(tmp_path, 1, "PASS")
    end(spec, AuditNotifier, ValueError("3 of 64 captions are not what a fresh engine says"))
    assert read_sentences(web) == [
        "The audit of step-1 (suite small) is red: 3 of 64 captions are not what a fresh engine says"
    ]
