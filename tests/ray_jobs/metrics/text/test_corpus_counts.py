"""The tables of a complete set, compared with a count by hand, on a directory and on S3."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from counted_captions import draw_texts, write_inputs
from samples import make_spec
from stored_captions import map_locally, write_golden

from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.metrics.text import corpus_counts, count_tables
from ray_jobs.metrics.text.frequencies import Frequencies
from ray_jobs.metrics.text.ngrams import number_ngrams, number_texts
from ray_jobs.metrics.text.tokenise import number_terms
from ray_jobs.storage import object_listing, objects

pytestmark = pytest.mark.usefixtures("small_groups")


def counts_of(table: Frequencies, values: np.ndarray) -> dict[int, int]:
    keys = np.unique(values)
    return dict(zip(keys.tolist(), table.of(keys).astype(int).tolist(), strict=True))


def test_counts_are_those_by_hand(store: str) -> None:
    spec = write_inputs(store)
    corpus_counts.complete_tables(spec, spec.caption_id)
    corpus = corpus_counts.open_tables(spec, spec.caption_id)
    per_image = []
    for n in range(22):
        terms = number_terms(draw_texts(n, n % 3))
        per_image.append({int(gram) for order in range(1, 5) for gram in number_ngrams(*terms, order)[0]})
    documents = Counter(gram for grams in per_image for gram in grams)
    assert corpus.documents.total == sum(1 for n in range(22) if n % 3)
    assert counts_of(corpus.documents, np.array(list(documents), np.uint64)) == documents
    captions = [text for n, text in enumerate(draw_texts(99, 22)) if n != 7]
    terms = number_terms(captions)
    bigrams, text_terms = number_ngrams(*terms, 2)[0], number_texts(*terms)
    assert (corpus.bigrams.total, corpus.texts.total) == (len(bigrams), 21)
    assert counts_of(corpus.bigrams, bigrams) == Counter(bigrams.tolist())
    assert counts_of(corpus.texts, text_terms) == Counter(text_terms.tolist())
    assert len(corpus.documents.ranges) > 1
    assert not list(object_listing.iterate_entries(f"{corpus_counts.references_uri(spec)}/runs"))


def contents(uri: str) -> dict[str, bytes]:
    return {entry.key: objects.read(f"{uri}/{entry.key}") for entry in object_listing.iterate_entries(uri)}


def test_the_bytes_do_not_depend_on_the_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They depend on the counted texts and on the number of ranges."""
    counts = []
    for name, rows in (("a", 4), ("b", 8), ("c", 1000)):
        monkeypatch.setattr(corpus_counts, "GROUP_ROWS", rows)
        monkeypatch.setattr(corpus_counts, "RANGE_ENTRIES", 10**9)
        spec = write_inputs(str(tmp_path / name))
        corpus_counts.count_references(spec)
        counts.append(contents(corpus_counts.references_uri(spec)))
    assert counts[0] == counts[1] == counts[2]
    assert set(counts[0]) == {"ngrams-000.counts", "tables.json"}


def test_what_is_counted_is_not_counted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = write_inputs(str(tmp_path))
    corpus_counts.complete_tables(spec, spec.caption_id)
    monkeypatch.setattr(corpus_counts, "_run_on_ray", None)
    corpus_counts.complete_tables(spec, spec.caption_id)


def test_killed_at_any_step_the_count_continues_from_the_stored_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_run, cut = write_inputs(str(tmp_path / "whole")), write_inputs(str(tmp_path / "cut"))
    corpus_counts.count_references(one_run)
    counted_parts: list[str] = []
    original = corpus_counts._list_reference_ngrams

    def counter(name: str, golden_uri: str) -> object:
        counted_parts.append(name)
        return original(name, golden_uri)

    monkeypatch.setattr(corpus_counts, "_list_reference_ngrams", counter)
    steps = 0
    while not objects.exists(f"{corpus_counts.references_uri(cut)}/tables.json"):
        steps_left = [steps]  # one more task is done each time before it is killed

        def kill_at_step(rows: list[Any], work: object, steps_until_kill: list[int] = steps_left) -> list[Any]:
            finished = []
            for row in rows:
                if not steps_until_kill[0]:
                    raise KeyboardInterrupt
                steps_until_kill[0] -= 1
                finished.append(work(row))  # type: ignore[operator]
            return finished

        monkeypatch.setattr(corpus_counts, "_run_on_ray", kill_at_step)
        try:
            corpus_counts.count_references(cut)
        except KeyboardInterrupt:
            steps += 1
    assert steps > 3
    assert len(counted_parts) == len(set(counted_parts)) == 6
    assert contents(corpus_counts.references_uri(cut)) == contents(corpus_counts.references_uri(one_run))


def test_runs_left_by_a_kill_while_they_were_removed_are_removed(tmp_path: Path) -> None:
    spec = write_inputs(str(tmp_path))
    corpus_counts.count_references(spec)
    objects.write(f"{corpus_counts.references_uri(spec)}/runs/part-00000.ngrams", b"left")
    corpus_counts.count_references(spec)
    assert not list(object_listing.iterate_entries(f"{corpus_counts.references_uri(spec)}/runs"))


def test_the_second_of_two_jobs_finds_it_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first job ends and deletes the runs when the second has just begun to sum them."""
    spec = write_inputs(str(tmp_path))

    def second(rows: list[Any], work: object) -> list[Any]:
        if "range" in rows[0]:
            monkeypatch.setattr(corpus_counts, "_run_on_ray", map_locally)
            corpus_counts.count_references(spec)
        return map_locally(rows, work)  # type: ignore[arg-type]

    monkeypatch.setattr(corpus_counts, "_run_on_ray", second)
    corpus_counts.count_references(spec)
    assert count_tables.open_table(corpus_counts.references_uri(spec), "ngrams").total == 14


def test_missing_runs_are_a_retryable_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = write_inputs(str(tmp_path))

    def lose_run(rows: list[Any], work: object) -> list[Any]:
        if "range" in rows[0]:
            objects.delete(f"{corpus_counts.references_uri(spec)}/runs/part-00000.ngrams")
        return map_locally(rows, work)  # type: ignore[arg-type]

    monkeypatch.setattr(corpus_counts, "_run_on_ray", lose_run)
    with pytest.raises(RetryableError, match="run again"):
        corpus_counts.count_references(spec)


def test_without_references_there_is_an_empty_table(tmp_path: Path) -> None:
    spec = make_spec(root=str(tmp_path))
    write_golden(spec, [{"image_id": "a"}])
    corpus_counts.count_references(spec)
    table = count_tables.open_table(corpus_counts.references_uri(spec), "ngrams")
    assert (table.total, table.of(np.array([5], np.uint64)).tolist()) == (0, [1])


def test_a_golden_set_that_is_not_complete_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the preprocess stage is not complete"):
        corpus_counts.count_references(make_spec(root=str(tmp_path)))
