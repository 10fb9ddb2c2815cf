"""A folder whose reading fails twice is quarantined; an outage of the storage is not its fault."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from assay_airflow import fingerprint_cache, router, survey
from assay_airflow.quarantine import Quarantine
from assay_airflow.triggers.checkpoint_prefix import CheckpointPrefixTrigger
from odd_folders import write
from router_passes import EmptyState, is_fit_for_a_log, run_pass

from ray_jobs.checkpoints import inspect
from ray_jobs.checkpoints.config_files import read_config
from ray_jobs.checkpoints.inspect import require_complete
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.inputs.errors import RetryableError
from ray_jobs.storage import object_listing

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
    uris: list[str] = []

    def read(root: str, uri: str, base_model: str | None = None) -> Checkpoint:
        uris.append(uri)
        if uri.endswith("/odd"):
            raise error
        return fingerprint_cache.resolve(root, uri, base_model)

    monkeypatch.setattr(survey, "resolve", read)
    results = [run_pass(watched_folder) for _ in range(4)]
    assert all(is_fit_for_a_log(result.passed_over["odd"]) for result in results)
    assert [len(result.requests) for result in results] == [1] * 4
    assert uris.count(f"{watched_folder}/odd") == 2
    assert ["in quarantine" in result.passed_over["odd"] for result in results] == [False, False, True, True]
    file = next(iter((watched_folder.parent / "root" / "quarantine").iterdir()))
    assert str(file) in results[-1].passed_over["odd"], "how to lift it"
    file.unlink()
    run_pass(watched_folder)
    assert uris.count(f"{watched_folder}/odd") == 3
    run_pass(watched_folder)
    (watched_folder / "odd" / "config.json").write_text('{"architectures": ["Tiny"], "changed": 1}')
    assert "in quarantine" not in run_pass(watched_folder).passed_over["odd"]
    assert uris.count(f"{watched_folder}/odd") == 5


@pytest.mark.parametrize("error", [MemoryError(), RecursionError("too deep"), TypeError("x")], ids=repr)
def test_a_fault_inside_the_reader_counts_for_the_quarantine_too(
    error: Exception, watched_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader turns the fault into an InputError with a line of its own."""
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
    uris: list[str] = []

    def check(uri: str) -> Any:
        uris.append(uri)
        if uri.endswith("/odd"):
            raise error
        return require_complete(uri)

    monkeypatch.setattr(router, "require_complete", check)
    trigger = CheckpointPrefixTrigger()
    trigger.asset_state_store = EmptyState()  # type: ignore[assignment]
    for _ in range(5):
        whole = asyncio.run(trigger.poll())
    assert set(whole) == {"good"}
    assert uris.count(f"{watched_folder}/odd") == 2


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
    [note_file] = (root / "router").iterdir()
    (root / "quarantine" / f"{router_digest(f'{watched_folder}/good')}.json").write_bytes(b"{}")
    for file in (root / folder).iterdir():
        file.write_bytes(content)
    assert len(run_pass(watched_folder).requests) == 1
    if folder == "router" and b"99" in content:
        assert note_file.read_bytes() == content, "a newer Assay's file was written over"


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
        assert notes.find_refusal(uri, "0123") is None
        change(notes)
        assert file.read_bytes() == newer


def router_digest(uri: str) -> str:
    from ray_jobs.contract.ids import digest

    return digest(uri)
