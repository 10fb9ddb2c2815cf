"""dev.rooms on small trees: which imports count, which room a file belongs to, and which arrows go up."""

from pathlib import Path

import pytest

from dev.rooms.imports import read_files
from dev.rooms.plan import Plan, draw_plan

TREE = {
    "ray_jobs/__init__.py": "",
    "ray_jobs/caption.py": "from ray_jobs.engine.client import session\n\ndef main(): ...\n",
    "ray_jobs/records.py": "import ray_jobs.contract.spec\n",
    "ray_jobs/contract/__init__.py": '"""A docstring.\n\nOf three lines."""\n\nVERSION = 1  # a comment\n',
    "ray_jobs/contract/spec.py": "from ray_jobs.contract import VERSION\n",
    "ray_jobs/engine/__init__.py": "",
    "ray_jobs/engine/protocol.py": "from ray_jobs.contract import spec\n",
    "ray_jobs/engine/client/session.py": "from ray_jobs.engine import protocol\n",
    "plugins/assay_airflow/stages.py": "from ray_jobs import caption\n",
    "dags/validate.py": "from assay_airflow import stages\n",
}
ORDER = ("contract", "records.py", "engine", "engine/client", "programs", "plugins", "dags")


def draw_plan_of(folder: Path, changes: dict[str, str], order: tuple[str, ...] = ORDER) -> Plan:
    for name, text in (TREE | changes).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return draw_plan(read_files(folder), order)


def test_files_are_folded_into_rooms(tmp_path: Path) -> None:
    plan = draw_plan_of(tmp_path, {})
    assert set(plan.rooms) == set(ORDER)
    assert plan.no_programs == ["ray_jobs/records.py"]
    assert set(plan.arrows) == {
        ("dags", "plugins"), ("plugins", "programs"), ("programs", "engine/client"), ("engine/client", "engine"),
        ("engine", "contract"), ("records.py", "contract"),
    }  # fmt: skip
    assert plan.arrows["dags", "plugins"] == [("dags/validate.py", "plugins/assay_airflow/stages.py")]
    assert plan.floors == {
        "contract": 0, "records.py": 1, "engine": 1, "engine/client": 2, "programs": 3, "plugins": 4, "dags": 5,
    }  # fmt: skip
    assert (plan.upward, plan.circles, plan.file_circles) == ([], [], [])


@pytest.mark.parametrize(
    "text",
    [
        "import ray_jobs.engine.protocol\n",
        "from ray_jobs.engine import protocol\n",
        "from ray_jobs.engine.protocol import request\n",
        "from ..engine.protocol import request\n",
        "def build():\n    from ray_jobs.engine import protocol\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ray_jobs.engine import protocol\n",
    ],
)
def test_an_upward_import_is_found_in_every_form(tmp_path: Path, text: str) -> None:
    plan = draw_plan_of(tmp_path, {"ray_jobs/contract/spec.py": text})
    assert plan.upward == [("contract", "engine")]
    assert plan.arrows["contract", "engine"] == [("ray_jobs/contract/spec.py", "ray_jobs/engine/protocol.py")]
    assert plan.circles == [["contract", "engine"]]
    assert plan.file_circles == [["ray_jobs/contract/spec.py", "ray_jobs/engine/protocol.py"]]
    assert plan.floors["contract"] == 0


def test_a_room_without_a_place_is_named_and_the_order_computed(tmp_path: Path) -> None:
    """The computed order has as few upward arrows as it can: one here, because of the circle."""
    plan = draw_plan_of(
        tmp_path, {"ray_jobs/contract/spec.py": "from ray_jobs.engine.client import session\n"}, ORDER[1:]
    )
    assert plan.unplaced == ["contract"]
    assert plan.circles == [["contract", "engine", "engine/client"]]
    assert len(plan.upward) == 1
    assert plan.arrows_in_circles() == [
        ("contract", "engine/client"), ("engine", "contract"), ("engine/client", "engine"),
    ]  # fmt: skip


def test_lines_of_code_are_counted_without_comments_and_docstrings(tmp_path: Path) -> None:
    (contract,) = [f for f in draw_plan_of(tmp_path, {}).rooms["contract"] if f.path.endswith("__init__.py")]
    assert (contract.lines, contract.code_lines) == (5, 1)
