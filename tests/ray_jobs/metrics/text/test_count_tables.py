"""Tables that are opened: from a node's copy, and whole or refused."""

import json
from pathlib import Path

import pytest
from counted_captions import write_inputs

from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.metrics.text import corpus_counts, count_tables
from ray_jobs.storage import objects

pytestmark = pytest.mark.usefixtures("small_groups")


def test_on_s3_a_node_keeps_one_copy(s3: str, tmp_path: Path) -> None:
    spec = write_inputs(s3)
    corpus_counts.count_references(spec)
    uri = corpus_counts.references_uri(spec)
    first = count_tables.open_table(uri, "ngrams")
    (copy,) = (tmp_path / "cache").iterdir()
    assert sum(path.stat().st_size for path in copy.iterdir()) == sum(len(a) * 12 for a, _ in first.ranges)
    objects.delete(f"{uri}/{count_tables.file_name('ngrams', 0)}")
    count_tables.open_table.cache_clear()
    assert count_tables.open_table(uri, "ngrams").total == first.total
    index = json.loads(objects.read(f"{uri}/tables.json"))
    index["ngrams"]["total"] += 1  # other tables are another copy
    objects.write(f"{uri}/tables.json", json.dumps(index).encode())
    count_tables.open_table.cache_clear()
    with pytest.raises(RetryableError, match="a file of the table ngrams is missing"):
        count_tables.open_table(uri, "ngrams")


def test_an_incomplete_table_is_a_retryable_error(tmp_path: Path) -> None:
    spec = write_inputs(str(tmp_path))
    corpus_counts.count_references(spec)
    uri = corpus_counts.references_uri(spec)
    objects.delete(f"{uri}/{count_tables.file_name('ngrams', 0)}")
    with pytest.raises(RetryableError, match=r"a file of the table ngrams is missing; delete its tables\.json"):
        count_tables.open_table(uri, "ngrams")


@pytest.mark.parametrize("change", ["a byte", "cut short", "longer", "another range's"])
def test_a_table_whose_bytes_changed_is_refused_with_the_remedy(tmp_path: Path, change: str) -> None:
    spec = write_inputs(str(tmp_path / "root"))
    corpus_counts.complete_tables(spec, spec.caption_id)
    uri = corpus_counts.captions_uri(spec, spec.caption_id)
    file = Path(uri, "bigrams-000.counts")
    data = file.read_bytes()
    other = Path(uri, "texts-000.counts").read_bytes()
    file.write_bytes(
        {
            "a byte": data[:-1] + bytes([data[-1] ^ 1]),
            "cut short": data[:-12],
            "longer": data + bytes(12),
            "another range's": other,
        }[change]
    )
    count_tables.open_table.cache_clear()
    with pytest.raises(InputError, match=r"bigrams-000\.counts: not what its tables\.json says: .*; delete it and"):
        count_tables.open_table(uri, "bigrams")
    file.write_bytes(data)
    assert count_tables.open_table(uri, "bigrams").total
