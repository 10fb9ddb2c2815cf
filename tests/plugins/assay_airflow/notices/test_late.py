from pathlib import Path

import pytest
from airflow.sdk.exceptions import AirflowSkipException
from assay_airflow.notices import late
from receivers import WebServer
from specs import make_record, make_spec, write_checkpoint, write_suite

from ray_jobs.checkpoints import inspect
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import records


@pytest.fixture
def folder(tmp_path: Path, web: WebServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A watched folder, in a deployment that tells a webhook of verdicts that are a moment late."""
    monkeypatch.setenv("ASSAY_NOTIFY", "hook")
    monkeypatch.setenv("ASSAY_LATE_HOURS", "1e-9")
    monkeypatch.setenv("ASSAY_CHECKPOINTS", str(tmp_path / "in"))
    monkeypatch.setenv("ASSAY_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("ASSAY_ROUTER_SUITE", "small")
    monkeypatch.setenv("ASSAY_SUITES", write_suite(tmp_path / "suites"))
    (tmp_path / "in").mkdir()
    return tmp_path


def add_checkpoint(folder: Path, name: str) -> Path:
    return write_checkpoint(folder / "in" / name, name[-8:].ljust(8).encode())


def test_a_verdict_that_is_late_is_told_once(folder: Path, web: WebServer) -> None:
    add_checkpoint(folder, "step-1")
    assert late.tell_late_verdicts() == ["step-1"]
    with pytest.raises(AirflowSkipException, match="or people know"):
        late.tell_late_verdicts()
    [(_, _, body)] = web.posts
    assert body["sentence"] == "No verdict of step-1 (suite small) within 1e-09 h after it was complete"
    assert body["link"].endswith("/dags/checkpoint_router")


def test_several_late_verdicts_are_one_message(folder: Path, web: WebServer) -> None:
    for name in ("step-1", "step-2", "step-10"):
        add_checkpoint(folder, name)
    assert late.tell_late_verdicts() == ["step-1", "step-2", "step-10"]
    add_checkpoint(folder, "step-11")
    assert late.tell_late_verdicts() == ["step-11"]
    assert [body["sentence"].partition(" within ")[0] for _, _, body in web.posts] == [
        "No verdict of step-1 (suite small)",
        "No verdict of step-11 (suite small)",
    ]
    assert web.posts[0][2]["sentence"].endswith(", and 2 more")


def test_an_incomplete_and_a_validated_checkpoint_are_not_late(folder: Path, web: WebServer) -> None:
    (add_checkpoint(folder, "incomplete") / "model.safetensors").unlink()
    validated = inspect.resolve(str(add_checkpoint(folder, "validated")))
    spec = make_spec(folder / "root").model_copy(update={"checkpoint": validated})
    records.publish(spec.root, make_record(spec, "FAIL"))
    with pytest.raises(AirflowSkipException):
        late.tell_late_verdicts()
    assert web.posts == []


def test_a_young_and_a_very_old_checkpoint_are_not_late(
    folder: Path, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_checkpoint(folder, "step-1")
    assert late.find_late(str(folder / "root"), "small", str(folder / "in"), 2) == []
    monkeypatch.setattr(late, "WINDOW_H", 0)
    with pytest.raises(AirflowSkipException):
        late.tell_late_verdicts()
    assert web.posts == []


def test_a_message_that_no_channel_took_is_told_an_hour_later(folder: Path, web: WebServer) -> None:
    add_checkpoint(folder, "step-1")
    web.status = 503
    late.tell_late_verdicts()
    web.status = 200
    late.tell_late_verdicts()
    assert len(web.posts) == 2


@pytest.mark.parametrize("hours", ["0", "-1", "soon", "nan"])
def test_a_patience_that_is_no_number_of_hours_is_refused(monkeypatch: pytest.MonkeyPatch, hours: str) -> None:
    monkeypatch.setenv("ASSAY_LATE_HOURS", hours)
    with pytest.raises(InputError, match=r"ASSAY_LATE_HOURS is .*; set it to a number of hours above 0"):
        late.read_patience()


def test_where_nobody_is_told_nothing_is_looked_at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASSAY_NOTIFY")
    with pytest.raises(AirflowSkipException, match="ASSAY_NOTIFY is not set"):
        late.tell_late_verdicts()
