"""A suite has one name, whatever word it is asked for with: records, run ids and the plan agree on it."""

from pathlib import Path
from typing import Any

import pytest
from assay_airflow import router, tasks
from specs import checkpoint_in, record, suite_in

from ray_jobs.checkpoints import inspect
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import records
from ray_jobs.storage.specs import load_spec

RENAME = "its file is nightly.yaml, its `name` is 't'; name the file t.yaml"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A watched folder with one checkpoint, the suite `t`, and a file `nightly.yaml` that calls itself `t` too."""
    suites = suite_in(tmp_path / "suites", "nightly", "t")
    suite_in(tmp_path / "suites", "t")
    checkpoint_in(tmp_path / "in" / "step-0800")
    monkeypatch.setenv("ASSAY_SUITES", suites)
    monkeypatch.setenv("ASSAY_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("ASSAY_CHECKPOINTS", str(tmp_path / "in"))
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"png")
    for name in ("nightly", "t"):
        file = tmp_path / "suites" / f"{name}.yaml"
        file.write_text(file.read_text().replace("/data/images", str(tmp_path / "images")))
    return tmp_path


def params(place: Path, suite: str) -> dict[str, Any]:
    return {
        "checkpoint": f"{place}/in/step-0800", "suite": suite, "baseline": None, "force": False, "following": None,
    }  # fmt: skip


def publish(place: Path) -> None:
    """A record of the checkpoint in suite `t`."""
    records.publish(str(place / "root"), record(load_spec(tasks.plan(params(place, "t"), "manual__1"))))


def route(word: str | None = None) -> list[dict[str, Any]]:
    return tasks.reconcile("scheduled", lambda *_: 0, None, word)


@pytest.mark.parametrize("ask", [lambda place: tasks.plan(params(place, "nightly"), "manual__1"),
                                 lambda place: route("nightly"), lambda place: tasks.select_audits(None, "nightly")],
                         ids=["plan", "router", "audit"])  # fmt: skip
def test_a_file_that_calls_itself_otherwise_is_refused_wherever_it_is_asked_for(place: Path, ask: Any) -> None:
    with pytest.raises(InputError, match=RENAME):
        ask(place)


def test_the_variable_of_the_router_is_no_way_around_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_ROUTER_SUITE", "nightly")
    with pytest.raises(InputError, match=RENAME):
        route()


def test_the_routers_own_functions_look_where_records_are_kept(place: Path) -> None:
    publish(place)
    assert list(router.iter_unvalidated(str(place / "root"), "nightly", str(place / "in"))) == []


def test_what_has_a_record_is_done_whichever_word_names_the_suite(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_SUITE_FILES", "1")
    words = ["t", f"{place}/suites/t.yaml", f"file://{place}/suites/t.yaml", f"{place}/suites/nightly.yaml"]
    found = inspect.resolve(f"{place}/in/step-0800").folder
    for word in words:
        [request] = route(word)
        assert request["trigger_run_id"] == f"router__t__{found}"
        assert request["conf"]["suite"] == word
    publish(place)
    assert [route(word) for word in words] == [[]] * len(words)


@pytest.mark.parametrize("word", ["nightyl", "T", "tt"])
def test_a_suite_that_is_not_there_is_no_pass_and_no_audit_of_nothing(place: Path, word: str) -> None:
    for ask in (lambda: route(word), lambda: tasks.select_audits(None, word)):
        with pytest.raises(InputError, match=f"suite '{word}': not in .*(did you mean|known)"):
            ask()
