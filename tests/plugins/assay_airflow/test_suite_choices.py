from pathlib import Path

import pytest
from assay_airflow.suite_choices import offer_suites
from specs import write_suite


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("nightly", "demo"):
        monkeypatch.setenv("ASSAY_SUITES", write_suite(tmp_path, name))
    (tmp_path / "notes.txt").write_text("no suite")
    (tmp_path / "a b\n.yaml").write_text("a name that no suite may have")
    return tmp_path


def test_the_form_offers_each_suite_once_after_the_other_choices(folder: Path) -> None:
    assert offer_suites("demo") == {"enum": ["demo", "nightly"]}
    assert offer_suites(None) == {"enum": [None, "demo", "nightly"]}


def test_where_a_file_may_be_named_the_suites_are_proposals(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_SUITE_FILES", "1")
    assert offer_suites("demo") == {"examples": ["demo", "nightly"]}


@pytest.mark.parametrize("where", ["s3://bucket/suites", "/nowhere/at/all"])
def test_a_folder_that_cannot_be_listed_here_allows_any_name(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    monkeypatch.setenv("ASSAY_SUITES", where)
    assert offer_suites("demo") == {}
