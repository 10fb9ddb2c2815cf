"""One odd folder, spec, manifest or failure never stops the others: router, watcher, retries and the choice of audits.

The folders are those of `odd_folders.py` and odd names of folders; each lies beside a good checkpoint, and the good one
must be found while the odd one is named in one line.
"""

import asyncio
import json
import logging
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from assay_airflow import audit_selection, fingerprint_cache, retries, router, survey
from assay_airflow.quarantine import Quarantine
from assay_airflow.triggers.checkpoint_prefix import CheckpointPrefixTrigger
from odd_folders import ODD, write

from ray_jobs.checkpoints import inspect
from ray_jobs.checkpoints.config_files import read_config
from ray_jobs.checkpoints.inspect import require_complete, resolve
from ray_jobs.contract.artifacts import Failure, Manifest, Record, Verdict
from ray_jobs.contract.spec import Checkpoint, Spec
from ray_jobs.contract.suite import Suite
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.storage import index, object_listing, objects, records

Make = Callable[[Path], None]
NOW = datetime(2026, 11, 30, 12, 30, tzinfo=UTC)
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


def count_none(run_ids: list[str], states: list[str] | None) -> int:
    return 0


@pytest.fixture
def watched_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSAY_CHECKPOINTS", str(tmp_path / "in"))
    monkeypatch.setenv("ASSAY_SUITES", str(tmp_path / "suites"))
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "small.yaml").write_text("name: small\ndataset: {source: /data/images}\n")
    write(tmp_path / "in" / "good", {})
    return tmp_path / "in"


def run_pass(watched_folder: Path, occasion: router.Occasion = "night") -> router.Pass:
    return router.run_pass(str(watched_folder.parent / "root"), "small", str(watched_folder), count_none, occasion, NOW)


def poll_twice(watched_folder: Path) -> tuple[set[str], list[str]]:
    """What the watcher finds whole in two looks, and the lines it says."""
    trigger = CheckpointPrefixTrigger()
    trigger._log = cast(Any, logging.getLogger("task"))
    trigger.asset_state_store = Nothing()  # type: ignore[assignment]
    asyncio.run(trigger.poll())
    return set(asyncio.run(trigger.poll())), [note.why for note in trigger._odd._noted.values()]


class Nothing:
    """An Airflow that keeps nothing of a watched asset."""

    async def aget(self, key: str, default: Any = None) -> Any:
        return default


def is_fit_for_a_log(line: str) -> bool:
    return line.isprintable() and len(line) < 1500 and line.encode() is not None


@pytest.mark.timeout(30)
@pytest.mark.parametrize("make", ODD.values(), ids=ODD.keys())
def test_an_odd_folder_is_named_once_and_the_good_one_validated(
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
def test_an_odd_name_is_passed_over_with_the_remedy(
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


ERRORS = [
    RecursionError("maximum recursion depth exceeded"),
    MemoryError(),
    TypeError("'<' not supported"),
    AttributeError("'list' object has no attribute 'values'"),
    OverflowError("cannot convert float infinity to integer"),
    UnicodeEncodeError("utf-8", "\udc80", 0, 1, "surrogates not allowed"),
    ValueError("int('²')"),
    TimeoutError("20 s"),
    OSError(5, "Input/output error"),
    KeyError("weight_map"),
    AssertionError(),
    RuntimeError("a\nb\x1b[31m" + "c" * 10_000),
    ZeroDivisionError(),
    StopIteration(),
    SystemError("error return without exception set"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_folder_whose_reading_fails_twice_is_quarantined(
    error: Exception, watched_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(watched_folder / "odd", {})
    opened: list[str] = []

    def read(root: str, uri: str, base_model: str | None = None) -> Checkpoint:
        opened.append(uri)
        if uri.endswith("/odd"):
            raise error
        return fingerprint_cache.resolve(root, uri, base_model)

    monkeypatch.setattr(survey, "resolve", read)
    results = [run_pass(watched_folder) for _ in range(4)]
    assert all(is_fit_for_a_log(result.passed_over["odd"]) for result in results)
    assert [len(result.requests) for result in results] == [1] * 4
    assert opened.count(f"{watched_folder}/odd") == 2
    assert ["in quarantine" in result.passed_over["odd"] for result in results] == [False, False, True, True]
    file = next(iter((watched_folder.parent / "root" / "quarantine").iterdir()))
    assert str(file) in results[-1].passed_over["odd"], "how to lift it"
    file.unlink()
    run_pass(watched_folder)
    assert opened.count(f"{watched_folder}/odd") == 3
    run_pass(watched_folder)
    (watched_folder / "odd" / "config.json").write_text('{"architectures": ["Tiny"], "changed": 1}')
    assert "in quarantine" not in run_pass(watched_folder).passed_over["odd"]
    assert opened.count(f"{watched_folder}/odd") == 5


@pytest.mark.parametrize("error", [MemoryError(), RecursionError("too deep"), TypeError("x")], ids=repr)
def test_a_fault_inside_the_reader_counts_for_the_quarantine_too(
    error: Exception, watched_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader says it in a line of its own, as bad input."""
    write(watched_folder / "odd", {})

    def read(uri: str) -> Any:
        if uri.endswith("/odd"):
            raise error
        return read_config(uri)

    monkeypatch.setattr(inspect, "read_config", read)
    results = [run_pass(watched_folder) for _ in range(3)]
    assert ["in quarantine" in result.passed_over["odd"] for result in results] == [False, False, True]
    assert [len(result.requests) for result in results] == [1, 1, 1]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_the_watcher_survives_an_unexpected_error_in_one_folder(
    error: Exception, watched_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(watched_folder / "odd", {})
    opened: list[str] = []

    def check(uri: str) -> Any:
        opened.append(uri)
        if uri.endswith("/odd"):
            raise error
        return require_complete(uri)

    monkeypatch.setattr(router, "require_complete", check)
    trigger = CheckpointPrefixTrigger()
    trigger.asset_state_store = Nothing()  # type: ignore[assignment]
    for _ in range(5):
        whole = asyncio.run(trigger.poll())
    assert set(whole) == {"good"}
    assert opened.count(f"{watched_folder}/odd") == 2


def raise_outage(*_: Any, **__: Any) -> Any:
    raise RetryableError("cannot read s3://c: 503 SlowDown")


@pytest.mark.parametrize("occasion", ["night", "arrival", "person"])
def test_an_outage_is_an_error_and_not_an_empty_pass(
    occasion: router.Occasion, watched_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_listing, "list_subfolders", raise_outage)
    with pytest.raises(RetryableError):
        run_pass(watched_folder, occasion)
    with pytest.raises(RetryableError):
        router.list_whole(str(watched_folder), {})


def test_an_outage_in_the_middle_of_a_pass_ends_it(watched_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve_and_fail(*_: Any) -> Any:
        monkeypatch.setattr(object_listing, "iterate_entries", raise_outage)
        raise RetryableError("cannot read s3://c/good: 503 SlowDown")

    monkeypatch.setattr(survey, "resolve", resolve_and_fail)
    with pytest.raises(RetryableError):
        run_pass(watched_folder)


def test_a_retryable_error_of_one_folder_passes_it_over_without_quarantine(
    watched_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(watched_folder / "odd", {})

    def read(root: str, uri: str, base_model: str | None = None) -> Checkpoint:
        return raise_outage() if uri.endswith("/odd") else fingerprint_cache.resolve(root, uri, base_model)

    monkeypatch.setattr(survey, "resolve", read)
    for _ in range(3):
        result = run_pass(watched_folder)
        assert (len(result.requests), list(result.passed_over)) == (1, ["odd"])
    monkeypatch.setattr(survey, "resolve", fingerprint_cache.resolve)
    assert len(run_pass(watched_folder).requests) == 2


NOTES = {
    "no JSON": b"{",
    "an array": b"[]",
    "null": b"null",
    "binary": bytes(range(256)),
    "of a newer Assay": b'{"schema": 99, "checkpoints": {}}',
    "known an array": b'{"schema": 1, "folder": "x", "known": []}',
    "a checkpoint that is none": b'{"schema": 1, "folder": "x", "known": {"good": {"listing": 7}}}',
    "nested": b"[" * 100_000,
    "an old one": b'{"good": "0123"}',
}


@pytest.mark.parametrize("content", NOTES.values(), ids=NOTES.keys())
@pytest.mark.parametrize("folder", ["router", "quarantine"])
def test_an_unreadable_note_of_the_router_is_ignored(folder: str, content: bytes, watched_folder: Path) -> None:
    run_pass(watched_folder)
    root = watched_folder.parent / "root"
    (root / "quarantine").mkdir(exist_ok=True)
    [known] = (root / "router").iterdir()
    (root / "quarantine" / f"{router_digest(f'{watched_folder}/good')}.json").write_bytes(b"{}")
    for file in (root / folder).iterdir():
        file.write_bytes(content)
    assert len(run_pass(watched_folder).requests) == 1
    if folder == "router" and b"99" in content:
        assert known.read_bytes() == content, "a newer Assay's file was written over"


def test_a_newer_assays_note_of_a_failure_is_neither_replaced_nor_deleted(watched_folder: Path) -> None:
    def fail(notes: Quarantine) -> None:
        with notes.guard_read(uri, "0123"):
            notes.add_failure(uri, "0123", MemoryError())

    root, uri, newer = (
        watched_folder.parent / "root",
        f"{watched_folder}/good",
        b'{"schema": 99, "failures": {"read": 7}}',
    )
    file = root / "quarantine" / f"{router_digest(uri)}.json"
    file.parent.mkdir(parents=True)
    file.write_bytes(newer)
    for change in (fail, lambda notes: notes.lift(uri)):
        notes = Quarantine(str(root))
        assert notes.refusal(uri, "0123") is None
        change(notes)
        assert file.read_bytes() == newer


def router_digest(uri: str) -> str:
    from ray_jobs.contract.ids import digest

    return digest(uri)


# --- runs that ended without a record ---------------------------------------------------------------------------------

FAILURES = {
    "no JSON": b"{",
    "an array": b"[]",
    "nested": b"[" * 100_000,
    "binary": b"\xff\xfe\x00",
    "another kind": b'{"stage": "caption", "kind": "meltdown", "message": "m", "at": "2026-11-30T12:00:00Z"}',
    "no time": b'{"stage": "caption", "kind": "trouble", "message": "m"}',
    "the year 1": b'{"stage": "caption", "kind": "trouble", "message": "m", "at": "0001-01-01T00:00:00"}',
    "the year 9999": b'{"stage": "caption", "kind": "trouble", "message": "m", "at": "9999-12-31T23:59:59"}',
}


@pytest.mark.parametrize("content", FAILURES.values(), ids=FAILURES.keys())
def test_an_unreadable_failure_of_an_old_run_does_not_stop_its_retry(content: bytes, watched_folder: Path) -> None:
    spec = _spec(watched_folder)
    write_failure(spec, content)

    def count_failed_run(run_ids: list[str], states: list[str] | None) -> int:
        return int(states is None and any("retry" not in run_id for run_id in run_ids))

    root = str(watched_folder.parent / "root")
    [request] = router.run_pass(root, "small", str(watched_folder), count_failed_run, "arrival", NOW).requests
    assert request["trigger_run_id"].endswith("__retry-20261130T12")


def _spec(watched_folder: Path, name: str = "good") -> Spec:
    suite = Suite.model_validate({"name": "small", "dataset": {"source": "/data/images"}})
    checkpoint = resolve(str(watched_folder / name))
    spec = Spec(root=str(watched_folder.parent / "root"), suite=suite, checkpoint=checkpoint, source_revision="r1")
    objects.write(spec.uri, spec.model_dump_json().encode())
    return spec


def write_failure(spec: Spec, content: bytes) -> None:
    objects.write(f"{spec.run_uri}/failure.json", content)


def failure_json(kind: Any, failed_at: datetime) -> bytes:
    return Failure(stage="caption", kind=kind, message="of the job", at=failed_at).model_dump_json().encode()


def test_retryable_failures_are_retried_by_the_hour_and_input_errors_by_a_person(
    watched_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, root = _spec(watched_folder), str(watched_folder.parent / "root")
    ids: set[str] = {f"router__small__{spec.checkpoint.folder}"}

    def count(run_ids: list[str], states: list[str] | None) -> int:
        return 0 if states else len(ids & set(run_ids))

    def list_retries(occasion: router.Occasion, now: datetime = NOW) -> list[str]:
        requests = router.run_pass(root, "small", str(watched_folder), count, occasion, now).requests
        return [request["trigger_run_id"].rpartition("__")[2] for request in requests]

    write_failure(spec, failure_json("trouble", NOW.replace(minute=10)))
    assert list_retries("arrival") == [], "not within the hour"
    assert list_retries("arrival", NOW.replace(hour=13)) != []
    write_failure(spec, failure_json("trouble", NOW.replace(hour=9)))
    assert list_retries("arrival") == ["retry-20261130T12"]
    ids.add(f"router__small__{spec.checkpoint.folder}__retry-20261130T12")
    assert list_retries("arrival", NOW.replace(minute=59)) == []
    assert list_retries("arrival", NOW.replace(hour=13)) == [], "the pause has doubled"
    assert list_retries("arrival", NOW.replace(hour=14)) == ["retry-20261130T14"]
    assert list_retries("night") == ["retry-20261130"]
    write_failure(spec, failure_json("bad-input", NOW.replace(hour=9)))
    capsys.readouterr()
    assert (list_retries("arrival", NOW.replace(hour=20)), list_retries("night")) == ([], [])
    assert "waits for a person: good" in capsys.readouterr().out
    assert list_retries("person") == ["retry-20261130"]


def test_an_input_error_is_forgotten_when_the_suite_has_changed(watched_folder: Path) -> None:
    spec, root = _spec(watched_folder), str(watched_folder.parent / "root")
    write_failure(spec, failure_json("bad-input", NOW))
    assert retries.find_last_failure(root, "small", spec.checkpoint) is not None
    (watched_folder.parent / "suites" / "small.yaml").write_text(
        "name: small\ndataset: {source: /data/images, limit: 7}\n"
    )
    assert retries.find_last_failure(root, "small", spec.checkpoint) is None


# --- what is to be audited --------------------------------------------------------------------------------------------


def publish_run(watched_folder: Path, name: str, swapped: bool = True) -> Spec:
    """A run of a checkpoint whose captions a warm engine made."""
    write(watched_folder / name, {"config.json": json.dumps({"architectures": ["Tiny"], "name": name}).encode()})
    spec = _spec(watched_folder, name)
    sums: dict[str, Any] = {"rows_in": 3, "rows_out": 3, "parts": (), "created_at": NOW}
    manifest = Manifest(stage="captions", id=spec.caption_id, details={"engine": {"swapped": swapped}}, **sums)
    objects.write(f"{spec.captions_uri}/manifest.json", manifest.model_dump_json().encode())
    ids = {
        key: getattr(spec, key) for key in ("run_id", "run_uri", "scoring_id", "series_id", "golden_id", "caption_id")
    }
    nothing: dict[str, Any] = {"metrics": {}, "images": {}, "seconds": {}, "versions": {}}
    verdict = Verdict(outcome="PASS", reason="as told", baseline=None, alpha=0.0027)
    records.publish(
        spec.root,
        Record(
            **ids, **nothing, suite="small", checkpoint=spec.checkpoint, verdict=verdict, published_at=datetime.now(UTC)
        ),
    )
    return spec


ENGINES = ["[]", "null", "7", '"swapped"', "[[]]", "{}", '{"swapped": []}']
MANIFESTS = {
    "no JSON": b"{",
    "nested": b"[" * 100_000,
    "binary": b"\xff\xfe\x00",
    "empty": b"",
    "an array": b"[]",
    "sums that do not add up": b'{"stage": "captions", "id": "c", "rows_in": 3, "rows_out": 1, "parts": [], '
    b'"created_at": "2026-11-30T12:00:00Z"}',
} | {
    f"an engine that is {engine}": b'{"stage": "captions", "id": "c", "rows_in": 3, "rows_out": 3, "parts": [], '
    b'"created_at": "2026-11-30T12:00:00Z", "details": {"engine": %s}}' % engine.encode()
    for engine in ENGINES
}


@pytest.mark.parametrize("content", MANIFESTS.values(), ids=MANIFESTS.keys())
def test_an_odd_manifest_of_captions_stops_no_audit(content: bytes, watched_folder: Path) -> None:
    older, newer = publish_run(watched_folder, "a"), publish_run(watched_folder, "b")
    objects.write(f"{newer.captions_uri}/manifest.json", content)
    due = audit_selection.select_due(older.root, None, datetime.now(UTC))
    assert due in ([older.uri], [newer.uri])
    assert len(due) == 1


SPECS = {
    "no JSON": b"{",
    "nested": b"[" * 100_000,
    "binary": b"\xff\xfe\x00",
    "empty": b"",
    "null": b"null",
    "of a newer Assay": b'{"schema": 99}',
}


@pytest.mark.parametrize("content", SPECS.values(), ids=SPECS.keys())
def test_an_odd_spec_stops_no_audit(content: bytes, watched_folder: Path) -> None:
    older, newer = publish_run(watched_folder, "a"), publish_run(watched_folder, "b")
    objects.write(newer.uri, content)
    assert audit_selection.select_due(older.root, None, datetime.now(UTC)) == [older.uri]
    assert audit_selection.select_for_checkpoint(older.root, older.checkpoint.uri, None) == [older.uri]
    with pytest.raises(InputError):
        audit_selection.select_for_checkpoint(older.root, newer.checkpoint.uri, None)


@pytest.mark.parametrize("what", ["a manifest", "a spec", "an audit"])
def test_a_folder_where_a_file_belongs_stops_no_audit(what: str, watched_folder: Path) -> None:
    older, newer = publish_run(watched_folder, "a"), publish_run(watched_folder, "b")
    captions = Path(newer.captions_uri)
    file = {"a manifest": captions / "manifest.json", "a spec": Path(newer.uri), "an audit": captions / "audit.json"}[
        what
    ]
    file.unlink(missing_ok=True)
    file.mkdir()
    assert audit_selection.select_due(older.root, None, datetime.now(UTC)) == [older.uri]


@pytest.mark.parametrize("name", ["small\n", "..x", "a b", "é", "index.json", "x" * 200])
def test_an_odd_suite_in_the_index_stops_no_audit(name: str, watched_folder: Path) -> None:
    spec = publish_run(watched_folder, "a")
    odd = Path(spec.root, "index", name)
    odd.mkdir()
    (odd / "index.json").mkdir()
    (odd / "series" / "x--y--z--PASS.json").mkdir(parents=True)
    assert audit_selection.select_due(spec.root, None, datetime.now(UTC)) == [spec.uri]
    assert audit_selection.select_for_checkpoint(spec.root, spec.checkpoint.uri, None) == [spec.uri]


def test_an_index_line_that_is_odd_hides_no_run_from_a_person(watched_folder: Path) -> None:
    spec = publish_run(watched_folder, "a")
    file = Path(spec.root, "index", "small", "index.json")
    content = json.loads(file.read_text())
    content["records"]["series/odd.json"] = {"run_id": 7}
    file.write_text(json.dumps(content))
    assert audit_selection.select_for_checkpoint(spec.root, spec.checkpoint.uri, None) == [spec.uri]
    assert list(index.load(spec.root, "small").records) == [
        entry.key for entry in index.list_entries(spec.root, "small")
    ]


@pytest.mark.parametrize("name", ["-rf", "step-٣", "모델-500", "checkpoint 500", "run:1", "ckpt#7"])
def test_a_name_in_any_language_has_a_run(name: str, watched_folder: Path) -> None:
    write(watched_folder / name, {})
    result = run_pass(watched_folder)
    assert not result.passed_over
    [run] = [request for request in result.requests if request["conf"]["checkpoint"] == f"{watched_folder}/{name}"]
    assert re.fullmatch(r"[A-Za-z0-9_.~:+-]+", run["trigger_run_id"])  # as Airflow wants it
