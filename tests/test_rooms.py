"""The rooms of the house: imports between them go down only, the top holds programs, and the light ones are light.

`python -m dev.rooms` shows the same plan as text or as a picture. dev/rooms/order.py declares the order and the light
rooms.
"""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from dev.rooms.imports import read_files
from dev.rooms.order import LIGHT, ORDER, PUBLIC_MODULES, is_light
from dev.rooms.plan import draw_plan

REPO = Path(__file__).parents[1]
FILES = read_files(REPO)
PLAN = draw_plan(FILES, ORDER)
# What the light rooms may load besides the standard library and each other: pydantic, yaml and boto3, and their needs.
ALLOWED = {
    "pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection",
    "yaml", "_yaml", "cython_runtime",  # yaml's compiled half
    "boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six", "urllib3",
}  # fmt: skip


def module_of(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def test_the_order_names_each_room_once() -> None:
    assert sorted(ORDER) == sorted(PLAN.rooms)


def test_imports_between_rooms_go_down() -> None:
    """Imports inside functions are counted."""
    assert [(arrow, PLAN.arrows[arrow]) for arrow in PLAN.upward] == []


def test_no_rooms_import_each_other_in_a_circle() -> None:
    assert PLAN.circles == []


def test_no_files_import_each_other_in_a_circle() -> None:
    assert PLAN.file_circles == []


def test_the_top_of_ray_jobs_is_the_list_of_programs() -> None:
    assert [path for path in PLAN.no_programs if path not in PUBLIC_MODULES] == []


def test_no_room_imports_a_program_but_the_plugins() -> None:
    assert [arrow for arrow in PLAN.arrows if arrow[1] == "programs" and arrow[0] != "plugins"] == []


@pytest.mark.parametrize("path", LIGHT)
def test_each_light_room_exists(path: str) -> None:
    assert (REPO / path).exists()


@pytest.mark.parametrize("room", ["plugins", "dags"])
def test_the_control_plane_imports_light_rooms_alone(room: str) -> None:
    imported = {path for file in PLAN.rooms[room] for path in file.imports if path.startswith("ray_jobs/")}
    assert {path for path in imported if not is_light(path)} == set()


def test_the_light_rooms_load_nothing_heavy() -> None:
    """In an interpreter of its own, without site's start-up files: only what the import statements themselves load."""
    modules = [module_of(path) for path in FILES if is_light(path)]
    environment = {
        "PYTHONPATH": os.pathsep.join([str(REPO), sysconfig.get_path("purelib")]),
        "PATH": os.environ["PATH"],
    }
    driver = [sys.executable, "-S", "-P", str(REPO / "tests" / "light_imports.py"), *modules]
    run = subprocess.run(driver, env=environment, capture_output=True, text=True, check=True)
    allowed = ALLOWED | set(sys.stdlib_module_names) | set(modules) | {"ray_jobs"}
    loaded_modules = {
        module: {name for name in names if not name.startswith(("_sysconfigdata", "_cython_"))}
        for module, names in json.loads(run.stdout).items()
    }
    assert set(loaded_modules) == set(modules)
    assert {module: heavy for module, names in loaded_modules.items() if (heavy := sorted(names - allowed))} == {}
