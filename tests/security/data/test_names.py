"""Names from outside: a name that a later use cannot handle is refused in one line; any other works everywhere."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ray_jobs.checkpoints import inspect
from ray_jobs.contract.ids import slug
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.names import check_name, find_name_fault, printable
from ray_jobs.storage import object_listing, objects
from ray_jobs.storage.index import KEY, IndexEntry

ODD = {
    "empty": "",
    "this folder": ".",
    "the folder above": "..",
    "hidden": ".step-1",
    "a space at the end": "step-1 ",
    "a template": "step-1 {{ macros.uuid.os.popen('id').read() }}",
    "braces alone": "step-{{7*7}}",
    "a template's statement": "{% for x in y %}",
    "a format": "step-%s",
    "shell: a variable": "step-$HOME",
    "shell: a command": "step-`id`",
    "shell: a pipe": "step|id",
    "shell: a semicolon": "step;id",
    "shell: ampersands": "step&&id",
    "shell: a glob": "step-*",
    "shell: a bracket": "step-[0]",
    "a quote": "step-'1'",
    "two quotes": 'step-"1"',
    "markup": "<img src=x onerror=alert(1)>",
    "a slash": "step/1",
    "a backslash": "step\\1",
    "a question mark": "step?1",
    "an escape of a URL": "step%2F1",
    "a newline": "step\n1",
    "a newline at the end": "step-1\n",
    "a carriage return": "step\r1",
    "a tab": "step\t1",
    "a null byte": "step\x001",
    "a bell": "step\x07",
    "ANSI colours": "step-\x1b[31mred\x1b[0m",
    "an ANSI title": "step-\x1b]0;owned\x07",
    "a C1 control": "step-\x9b31m",
    "delete": "step-\x7f",
    "a bidi override": "step-\u202egpj.exe",
    "a bidi isolate": "step-\u2066x",
    "no width": "step-\u200b1",
    "a byte order mark": "\ufeffstep-1",
    "a line separator": "step\u20281",
    "a paragraph separator": "step\u20291",
    "a private character": "step\ue0001",
    "a variation selector beyond the first plane": "step\U000e01001",
    "half a surrogate": "step-\udc80",
    "a superscript digit": "10²",
    "a Hangul filler": "step-\u31641",
    "an accent of its own": "\u0301tape",
    "a variation selector": "step\ufe0f1",
    "a space first": " step-1",
    "an emoji": "step-😀",
    "unassigned": "step-\u0378",
    "101 letters": "a" * 101,
    "170 letters": "a" * 170,
    "5,000 letters": "a" * 5000,
}
GOOD = {
    "a step": "step-0800",
    "a run": "run_2026-11-30T10.00",
    "an epoch": "epoch=3,loss=0.21",
    "plus and at": "model+lora@v2",
    "a backup": "step-1~",
    "a digit": "7",
    "dashes": "a--b--c",
    "100 letters": "a" * 100,
    "a dot at the end": "step-1.",
    "Hangul": "모델-500",
    "a wide letter": "ｓtep",
    "a decomposed accent": "e\u0301tape",
    "an accent": "pas-été",
    "a letter that looks like another": "stеp-1",
    "a digit of another script": "step-٣",
    "a hash": "step#1",
    "a colon": "step:1",
    "a space": "step 1",
    "an option": "-rf",
}


@pytest.mark.parametrize("name", ODD.values(), ids=ODD.keys())
def test_an_odd_name_is_refused_with_one_short_visible_line(name: str) -> None:
    with pytest.raises(InputError) as error:
        check_name(name, "checkpoint")
    line = str(error.value)
    assert line.isprintable()
    assert len(line) < 300
    assert line.endswith("rename the folder")
    line.encode()
    assert find_name_fault(name)  # nor as the name of a suite


@pytest.mark.parametrize("name", ODD.values(), ids=ODD.keys())
def test_a_checkpoint_of_an_odd_name_is_refused_before_it_is_opened(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_checkpoint(*_: object) -> None:
        raise AssertionError("it was opened")

    monkeypatch.setattr(object_listing, "iterate_entries", open_checkpoint)
    for function in ("read", "read_range", "exists"):
        monkeypatch.setattr(objects, function, open_checkpoint)
    if name in ("", "."):  # the folder above, which has a name of its own
        return
    for uri in (f"s3://bucket/{name}", f"{tmp_path}/{name}"):
        last = uri.rstrip("/").rsplit("/", 1)[-1]
        if "/" in name and last == "1":
            continue
        for look in (inspect.require_complete, inspect.resolve):
            with pytest.raises(InputError, match="rename the folder"):
                look(uri)


@pytest.mark.parametrize("name", GOOD.values(), ids=GOOD.keys())
def test_a_name_that_is_kept_bears_every_later_use(name: str, tmp_path: Path) -> None:
    assert check_name(name, "checkpoint") == name
    folder = Checkpoint(uri=f"s3://bucket/{name}", name=name, fingerprint="0123456789abcdef").folder
    assert re.fullmatch(r"[A-Za-z0-9_.~:+-]{1,250}", f"router__{'s' * 100}__{folder}__retry-20261130")
    when = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    entry = IndexEntry("suite", "5" * 16, when, folder, "r" * 16, "INCONCLUSIVE")
    file = tmp_path / entry.key.rsplit("/", 1)[-1]
    file.write_bytes(b"")
    assert len(file.name.encode()) < 255
    match = KEY.fullmatch(entry.key)
    assert match
    assert match[3] == folder
    assert slug(folder) == folder
    assert printable(name) == name


@pytest.mark.parametrize("name", ["모델-500", "step 1", "step:1", "step#1", "-rf", "pas-été", "step-٣"])
def test_a_suites_name_is_a_key_and_has_ascii_only(name: str) -> None:
    assert find_name_fault(name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain text, 日本語 é 😀", "plain text, 日本語 é 😀"),
        ("two\nlines\r\n", "two\\x0alines\\x0d\\x0a"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\u202egpj", "\\u202egpj"),
        ("half \udc80", "half \\udc80"),
        ("\u2028", "\\u2028"),
        ("tag \U000e0041", "tag \\U000e0041"),
        ("a" * 300, "a" * 197 + "..."),
        ("\n" * 10**7, "\\x0a" * 49 + "\\..."),
    ],
)
def test_printed_text_is_one_visible_line(text: str, expected: str) -> None:
    assert printable(text) == expected
    assert printable(text).isprintable()
    assert len(printable(text)) <= 200
