from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag

FILE = Path(__file__).parents[2] / "dags" / "late_verdicts.py"


def test_where_nobody_is_told_there_is_no_schedule(bag: DagBag) -> None:
    assert not bag.dags["late_verdicts"].timetable.can_be_scheduled


def test_where_people_are_told_it_looks_every_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_NOTIFY", "hook")
    timetable: Any = DagBag(str(FILE)).dags["late_verdicts"].timetable
    assert timetable.expression == "20 * * * *"
