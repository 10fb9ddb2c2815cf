"""One odd folder or name of a folder never stops the others: the router's pass and the watcher.

Each lies beside a good checkpoint, and the good one must be found while the odd one is named in one line.
"""

import asyncio
import json
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from assay_airflow.triggers.checkpoint_prefix import CheckpointPrefixTrigger
from odd_folders import ODD, write
from router_passes import EmptyState, is_fit_for_a_log, run_pass

Make = Callable[[Path], None]


NAMES = {
    "a superscript": "10²",
    "a circled digit": "step-①",
    "not UTF-8": os.fsdecode(b"step-\xff\xfe"),
    "an overlong sequence": os.fsdecode(b"step-\xc0\xaf"),
    "a template": "step-1 {{ 7*7 }}",
    "a newline": "step-1\nto validate: step-2",
    "ANSI": "\x1b[2J\x1b[31mstep-1",
    "a bidi override": "step-1\u202ecod",
    "a quote": "step-1'\"",
    "a semicolon": "step-1;id",
    "a dollar": "step-$(id)",
    "a space at its end": "step-1 ",
    "spaces only": "   ",
    "a percent escape": "step%2F1",
    "a backslash": "step\\1",
    "170 letters": "s" * 170,
    "250 letters": "s" * 250,
    "200 digits": "9" * 200,
    "digits and marks": "1" * 60 + "²" * 60,
    "a tilde first": "~root",
    "an emoji": "step-😀",
    "a tag": "<script>alert(1)</script>",
    "a formula": "=cmd|'/C calc'!A0",
}


def poll_twice(watched_folder: Path) -> tuple[set[str], list[str]]:
    """The checkpoints that the watcher finds whole after two polls, and the reasons that it noted for others."""
    trigger = CheckpointPrefixTrigger()
    trigger._log = cast(Any, logging.getLogger("task"))
    trigger.asset_state_store = EmptyState()  # type: ignore[assignment]
    asyncio.run(trigger.poll())
    return set(asyncio.run(trigger.poll())), [note.why for note in trigger._odd._folders.values()]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("make", ODD.values(), ids=ODD.keys())
def test_a_pass_names_an_odd_folder_once_and_requests_the_good_one(
    make: Make, watched_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(watched_folder / "odd")
    result = run_pass(watched_folder)
    assert [request["conf"]["checkpoint"] for request in result.requests] == [f"{watched_folder}/good"]
    lines = [line for line in capsys.readouterr().out.splitlines() if "/odd" in line]
    assert all(is_fit_for_a_log(line) for line in lines)
    assert len(lines) == len(result.passed_over) <= 1  # a file where a folder belongs is no folder
    assert result.line() == f"{len(lines)} passed over, 1 to validate"


@pytest.mark.timeout(30)
@pytest.mark.parametrize("make", ODD.values(), ids=ODD.keys())
def test_the_watcher_still_lists_the_good_checkpoint_beside_an_odd_folder(make: Make, watched_folder: Path) -> None:
    make(watched_folder / "odd")
    whole, lines = poll_twice(watched_folder)
    assert "good" in whole  # and an adapter, whose base the router judges
    assert all(is_fit_for_a_log(line) for line in lines)


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_a_folder_with_an_odd_name_is_passed_over_with_the_remedy(
    name: str, watched_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(watched_folder / name, {})
    result = run_pass(watched_folder)
    assert [request["conf"] for request in result.requests] == [
        {"checkpoint": f"{watched_folder}/good", "suite": "small"}
    ]
    [line] = result.passed_over.values()
    assert is_fit_for_a_log(line)
    assert "rename the folder" in line
    assert json.dumps(result.summary()).encode()
    assert len(capsys.readouterr().out.splitlines()) == 3, "one line each, and the count"
    assert poll_twice(watched_folder)[0] == {"good"}


@pytest.mark.parametrize("name", ["-rf", "step-٣", "모델-500", "checkpoint 500", "run:1", "ckpt#7"])
def test_a_name_in_any_language_has_a_run(name: str, watched_folder: Path) -> None:
    write(watched_folder / name, {})
    result = run_pass(watched_folder)
    assert not result.passed_over
    [run] = [request for request in result.requests if request["conf"]["checkpoint"] == f"{watched_folder}/{name}"]
    assert re.fullmatch(r"[A-Za-z0-9_.~:+-]+", run["trigger_run_id"])  # as Airflow wants it
