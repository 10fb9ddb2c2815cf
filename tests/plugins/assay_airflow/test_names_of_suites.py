"""A suite has one name, by whichever word a run names it: records, run ids and the plan agree on it."""

from pathlib import Path
from typing import Any

import pytest
from assay_airflow import router, tasks
from specs import make_record, write_checkpoint, write_suite

from ray_jobs.checkpoints import inspect
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import records
from ray_jobs.storage.specs import load_spec

RENAME = "its file is nightly.yaml, its `name` is 't'; name the file t.yaml"


@pytest.fixture
def deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A watched folder with one checkpoint, the suite `t`, and a file `nightly.yaml` whose name is `t` too."""
    suites = write_suite(tmp_path / "suites", "nightly", "t")
    write_suite(tmp_path / "suites", "t")
    write_checkpoint(tmp_path / "in" / "step-0800")
    monkeypatch.setenv("ASSAY_SUITES", suites)
    monkeypatch.setenv("ASSAY_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("ASSAY_CHECKPOINTS", str(tmp_path / "in"))
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"png")
    for name in ("nightly", "t"):
        file = tmp_path / "suites" / f"{name}.yaml"
        file.write_text(file.read_text().replace("/data/images", str(tmp_path / "images")))
    return tmp_path


def params(deployment: Path, suite: str) -> dict[str, Any]:
    return {
        "checkpoint": f"{deployment}/in/step-0800", "suite": suite, "baseline": None, "force": False, "following": None,
    }  # fmt: skip


def publish(deployment: Path) -> None:
    """Publish a record of the checkpoint in suite `t`."""
    records.publish(str(deployment / "root"), make_record(load_spec(tasks.plan(params(deployment, "t"), "manual__1"))))


def route(word: str | None = None) -> list[dict[str, Any]]:
    return tasks.reconcile("scheduled", lambda *_: 0, None, word)


@pytest.mark.parametrize(
    "ask",
    [
        lambda deployment: tasks.plan(params(deployment, "nightly"), "manual__1"),
        lambda deployment: route("nightly"),
        lambda deployment: tasks.select_audits(None, "nightly"),
    ],
    ids=["plan", "router", "audit"],
)
def test_a_suite_file_whose_name_differs_is_refused_by_plan_router_and_audit(deployment: Path, ask: Any) -> None:
    with pytest.raises(InputError, match=RENAME):
        ask(deployment)


def test_the_routers_suite_variable_is_checked_too(deployment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_ROUTER_SUITE", "nightly")
    with pytest.raises(InputError, match=RENAME):
        route()


def test_the_router_finds_the_record_by_the_suites_name(deployment: Path) -> None:
    publish(deployment)
    assert list(router.iter_unvalidated(str(deployment / "root"), "nightly", str(deployment / "in"))) == []


def test_a_checkpoint_with_a_record_is_done_however_the_suite_is_named(
    deployment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_SUITE_FILES", "1")
    words = [
        "t",
        f"{deployment}/suites/t.yaml",
        f"file://{deployment}/suites/t.yaml",
        f"{deployment}/suites/nightly.yaml",
    ]
    checkpoint_folder = inspect.resolve(f"{deployment}/in/step-0800").folder
    for word in words:
        [request] = route(word)
        assert request["trigger_run_id"] == f"router__t__{checkpoint_folder}"
        assert request["conf"]["suite"] == word
    publish(deployment)
    assert [route(word) for word in words] == [[]] * len(words)


@pytest.mark.parametrize("word", ["nightyl", "T", "tt"])
def test_a_missing_suite_is_an_error_and_not_an_empty_pass(deployment: Path, word: str) -> None:
    for ask in (lambda: route(word), lambda: tasks.select_audits(None, word)):
        with pytest.raises(InputError, match=f"suite '{word}': not in .*(did you mean|known)"):
            ask()
