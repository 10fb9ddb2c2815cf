"""Stored answers: which of several is used, and files that are merged while others read, write and merge them."""

import hashlib
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pytest

from ray_jobs.judge import answer_store
from ray_jobs.judge.answer_store import Answer
from ray_jobs.storage import object_listing, objects, parts


def make_answer(
    key: str = "k", answered_at: float = 1.0, failure: str | None = None, run: str = "run", text: str = "text"
) -> Answer:
    return Answer(key, None if failure else text, failure, None, 1, 1, run, answered_at)


def files(uri: str) -> list[str]:
    return [entry.key for entry in object_listing.iterate_entries(f"{uri}/part")]


def test_only_saved_answers_are_loaded(store: str) -> None:
    assert answer_store.load_answers(store, "part", {"k"}) == {}
    answer_store.save_answers(store, "part", [make_answer("k"), make_answer("other")])
    assert answer_store.load_answers(store, "part", {"k", "unknown"}) == {"k": make_answer("k")}
    assert answer_store.load_answers(store, "another", {"k"}) == {}
    assert answer_store.load_answers(store, "part", set()) == {}


@pytest.mark.parametrize(
    ("answers", "stands"),
    [
        (
            [make_answer(answered_at=2), make_answer(answered_at=1)],
            make_answer(answered_at=1),
        ),  # the first: what comes later changes no score
        ([make_answer(answered_at=1, failure="timeout"), make_answer(answered_at=2)], make_answer(answered_at=2)),
        ([make_answer(answered_at=1), make_answer(answered_at=2, failure="timeout")], make_answer(answered_at=1)),
        (
            [make_answer(answered_at=1, failure="timeout"), make_answer(answered_at=2, failure="refusal")],
            make_answer(answered_at=2, failure="refusal"),
        ),
        (
            [make_answer(answered_at=1, text="a"), make_answer(answered_at=1, text="b")],
            make_answer(answered_at=1, text="a"),
        ),
    ],
)
def test_the_same_answer_is_used_in_any_order(answers: list[Answer], stands: Answer, tmp_path: Path) -> None:
    for number, order in enumerate((answers, answers[::-1])):
        uri = str(tmp_path / str(number))
        for answer in order:
            answer_store.save_answers(uri, "part", [answer])
        assert answer_store.load_answers(uri, "part", {"k"}) == {"k": stands}
        answer_store.merge_small_files(uri, "part")
        assert answer_store.load_answers(uri, "part", {"k"}) == {"k": stands}
        assert len(files(uri)) == 1


def test_the_same_answer_twice_is_one_file(store: str) -> None:
    for _ in range(2):
        answer_store.save_answers(store, "part", [make_answer()])
    assert len(files(store)) == 1
    answer_store.merge_small_files(store, "part")
    assert answer_store.load_answers(store, "part", {"k"}) == {"k": make_answer()}


def test_files_from_before_a_column_was_there_are_read_and_merged(store: str) -> None:
    old = answer_store.SCHEMA.remove(answer_store.SCHEMA.get_field_index("served_by"))
    row = {name: value for name, value in asdict(make_answer("old")).items() if name != "served_by"}
    objects.write(f"{store}/part/old.parquet", parts.encode(pa.Table.from_pylist([row], schema=old), {}))
    assert answer_store.load_answers(store, "part", {"old"}) == {"old": make_answer("old")}
    new = replace(make_answer("new"), served_by="m")
    answer_store.save_answers(store, "part", [new])
    for _ in range(2):
        assert answer_store.load_answers(store, "part", {"old", "new"}) == {"old": make_answer("old"), "new": new}
        answer_store.merge_small_files(store, "part")
    assert len(files(store)) == 1


def test_files_that_are_large_are_left_as_they_are(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [hashlib.sha256(bytes([number])).hexdigest() for number in range(256)]
    answer_store.save_answers(store, "part", map(make_answer, keys))
    large = files(store)
    monkeypatch.setattr(answer_store, "SMALL_FILE_BYTES", 8000)
    for key in "abc":
        answer_store.save_answers(store, "part", [make_answer(key)])
    answer_store.merge_small_files(store, "part")
    assert set(large) < set(files(store))
    assert len(files(store)) == 2
    assert set(answer_store.load_answers(store, "part", {"a", "b", "c", keys[7]})) == {"a", "b", "c", keys[7]}


@pytest.mark.parametrize("dies_at", range(1, 6))
def test_a_kill_in_the_middle_of_a_merge_loses_nothing(
    tmp_path: Path, dies_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kill comes before each change of the storage in turn."""
    uri, keys = str(tmp_path), {f"{number:032x}" for number in range(4)}
    for number, key in enumerate(sorted(keys)):
        answer_store.save_answers(uri, "part", [make_answer(key, float(number))])
    changes = 0

    def die_at_change(change: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            nonlocal changes
            changes += 1
            if changes == dies_at:
                raise KeyboardInterrupt
            return change(*arguments)

        return call

    with monkeypatch.context() as patched:
        patched.setattr(objects, "create", die_at_change(objects.create))
        patched.setattr(objects, "delete", die_at_change(objects.delete))
        with pytest.raises(KeyboardInterrupt):
            answer_store.merge_small_files(uri, "part")
    assert set(answer_store.load_answers(uri, "part", keys)) == keys
    answer_store.merge_small_files(uri, "part")
    assert len(files(uri)) == 1
    assert set(answer_store.load_answers(uri, "part", keys)) == keys


def test_a_part_is_merged_by_several_at_once_and_nothing_is_lost_to_any_reader(tmp_path: Path) -> None:
    uri, keys = str(tmp_path), {f"{number:032x}" for number in range(60)}
    for number, key in enumerate(sorted(keys)):
        answer_store.save_answers(uri, "part", [make_answer(key, float(number))])
    counts: list[int] = []
    finished = threading.Event()

    def look() -> None:
        while not finished.is_set():
            counts.append(len(answer_store.load_answers(uri, "part", keys)))

    reader = threading.Thread(target=look)
    mergers = [threading.Thread(target=answer_store.merge_small_files, args=(uri, "part")) for _ in range(4)]
    for thread in (reader, *mergers):
        thread.start()
    for thread in mergers:
        thread.join()
    finished.set()
    reader.join()
    assert set(counts) == {60}
    answer_store.merge_small_files(uri, "part")
    assert len(files(uri)) == 1
