"""Count how often n-grams and captions occur in a whole set, in bounded memory, and store the counts.

The driver of `evaluate` starts the counting. A Ray task counts each group of parts into a run, which is a sorted table.
Then a Ray task sums each range of numbers over all runs. The driver itself counts a single group. The tables
are written once. `count_tables` opens them in the tasks that score parts.

For 640,000 images with five references each, counting takes 8 CPU seconds and 0.6 GB, spread over the tasks. One task
with pyarrow's group-by takes 26 s and 4.9 GB, one with DuckDB 12 s and 2.4 GB (`python -m benchmarks.counting`).
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from ray_jobs.contract.artifacts import Manifest
from ray_jobs.contract.spec import Spec
from ray_jobs.inputs.errors import RetryableError
from ray_jobs.metrics.text import frequencies
from ray_jobs.metrics.text.batch import CorpusStats
from ray_jobs.metrics.text.count_tables import file_name, open_table
from ray_jobs.metrics.text.ngrams import ORDERS, number_ngrams, number_texts
from ray_jobs.metrics.text.tokenise import number_terms
from ray_jobs.runtime.prefetch import prefetch
from ray_jobs.runtime.ray_dataset import log_until_first_row, ray_dataset
from ray_jobs.storage import json_files, manifests, object_listing, objects, parts

log = logging.getLogger("assay")

VERSION = 1  # raise this and EVALUATE_VERSION when terms or n-grams change, so that golden sets are counted anew
GROUP_ROWS, RANGE_ENTRIES = 8192, 12_000_000
READERS = 4  # parts of a group that are read at once, because storage may be far away
BUCKETS = 256  # runs are cut where the upper 8 bits change, so a range is a number of whole buckets

Counter = Callable[[str], dict[str, tuple[int, np.ndarray]]]


def complete_tables(spec: Spec, caption_id: str) -> None:
    """Complete the tables that the metrics of these captions read."""
    count_references(spec)
    count_captions(spec, caption_id)


def open_tables(spec: Spec, caption_id: str) -> CorpusStats:
    """The tables that `complete_tables` has written, mapped into memory. Raises the errors of `open_table`."""
    of_captions = captions_uri(spec, caption_id)
    return CorpusStats(
        documents=open_table(references_uri(spec), "ngrams"),
        bigrams=open_table(of_captions, "bigrams"),
        texts=open_table(of_captions, "texts"),
    )


def references_uri(spec: Spec) -> str:
    return f"{spec.golden_uri}/document_frequencies-{VERSION}"


def captions_uri(spec: Spec, caption_id: str) -> str:
    return f"{spec.scores_uri_of(caption_id)}/frequencies"


def count_references(spec: Spec) -> None:
    """Count, for each n-gram of one to four words, the images whose references contain it.

    The counts are frozen with the golden set.
    """
    golden = manifests.require_manifest(spec.golden_uri, "preprocess")
    _count_tables(
        references_uri(spec),
        _group_parts(golden),
        ["ngrams"],
        partial(_list_reference_ngrams, golden_uri=spec.golden_uri),
    )


def count_captions(spec: Spec, caption_id: str) -> None:
    """Count how often each bigram and each whole caption occurs in these captions."""
    uri = spec.captions_uri_of(caption_id)
    groups = _group_parts(manifests.require_manifest(uri, "caption"))
    _count_tables(captions_uri(spec, caption_id), groups, ["bigrams", "texts"], partial(_list_caption_numbers, uri=uri))


def _list_reference_ngrams(name: str, golden_uri: str) -> dict[str, tuple[int, np.ndarray]]:
    references = parts.read_columns(golden_uri, name, ["references"])["references"].to_pylist()
    with_references = [texts for texts in references if texts]
    terms, lengths = number_terms([text for texts in with_references for text in texts])
    image_of = np.repeat(np.arange(len(with_references)), [len(texts) for texts in with_references])
    by_order = [number_ngrams(terms, lengths, order) for order in range(1, ORDERS + 1)]
    gram, image = (np.concatenate([entry[which] for entry in by_order]) for which in (0, 1))
    distinct, gram = np.unique(gram, return_inverse=True)
    once = np.unique(image_of[image] * len(distinct) + gram) if len(gram) else gram  # each image counts once per n-gram
    return {"ngrams": (len(with_references), distinct[once % max(len(distinct), 1)])}


def _list_caption_numbers(name: str, uri: str) -> dict[str, tuple[int, np.ndarray]]:
    captions = parts.read_columns(uri, name, ["caption"])["caption"].drop_null().to_pylist()
    terms, lengths = number_terms(captions)
    bigrams, _ = number_ngrams(terms, lengths, 2)
    return {"bigrams": (len(bigrams), bigrams), "texts": (len(captions), number_texts(terms, lengths))}


def _group_parts(manifest: Manifest) -> list[list[str]]:
    """The names of the parts in order, in groups of at most 8192 rows, or of one larger part."""
    groups: list[list[str]] = []
    rows = GROUP_ROWS
    for part in sorted(manifest.parts, key=lambda part: part.name):
        if rows + part.rows > GROUP_ROWS:
            groups.append([])
            rows = 0
        groups[-1].append(part.name)
        rows += part.rows
    return groups


# --- counting on Ray ------------------------------------------------------------------------------------------------


def _count_tables(uri: str, groups: Sequence[Sequence[str]], tables: Sequence[str], counter: Counter) -> None:
    """Complete the tables below the URI. `tables.json` is written last and says that the tables are complete.

    Two jobs may count one golden set at the same time. Both write the same bytes, and the later job finds
    `tables.json`.
    """
    done = f"{uri}/tables.json"
    if not objects.exists(done):
        log.info("counting %s of %d groups of parts: %s", " and ".join(tables), len(groups), uri)
        try:
            index = dict(_build_tables(uri, groups, tables, counter))
        except Exception:
            if not objects.exists(done):  # else another job finished first and deleted the runs
                raise
        else:
            objects.create(done, json_files.dump_json(index))
    # Also deletes the runs of a job that was killed during this deletion.
    for entry in list(object_listing.iterate_entries(f"{uri}/runs")):
        objects.delete(f"{uri}/runs/{entry.key}")


def _build_tables(
    uri: str, groups: Sequence[Sequence[str]], tables: Sequence[str], counter: Counter
) -> Iterator[tuple[str, dict[str, Any]]]:
    """For each table: its name, its total, and the SHA-256 of the file of each range."""
    if len(groups) == 1:  # the driver needs no runs
        for name, (total, distinct, counts) in _count_parts(groups[0], counter).items():
            yield name, {"total": total, "sha256": _write_ranges(uri, name, distinct, counts)}
        return
    runs = _run_on_ray(
        [{"group": json.dumps(group)} for group in groups], partial(_count_group, uri=uri, counter=counter)
    )
    sizes = [json.loads(row["sizes"]) for row in runs]
    for name in tables:
        entries = sum(size[name]["entries"] for size in sizes)
        ranges = _count_ranges(entries)
        firsts = [group[0] for group in groups]
        summing = partial(_sum_range, uri=uri, table=name, ranges=ranges, firsts=firsts)
        hashes = {row["range"]: row["sha256"] for row in _run_on_ray([{"range": n} for n in range(ranges)], summing)}
        total = sum(size[name]["total"] for size in sizes)
        yield name, {"total": total, "sha256": [hashes[number] for number in range(ranges)]}


def _count_ranges(entries: int) -> int:
    return min(BUCKETS, 1 << max(0, -(-entries // RANGE_ENTRIES) - 1).bit_length())


def _count_parts(names: Sequence[str], counter: Counter) -> dict[str, tuple[int, np.ndarray, np.ndarray]]:
    """(total, distinct numbers, their counts) of these parts, by table."""
    counts_of_parts = list(prefetch(counter, names, READERS))
    return {
        table: (
            sum(counts[table][0] for counts in counts_of_parts),
            *frequencies.count_numbers(np.concatenate([counts[table][1] for counts in counts_of_parts])),
        )
        for table in counts_of_parts[0]
    }


def _write_ranges(uri: str, table: str, distinct: np.ndarray, counts: np.ndarray) -> list[str]:
    """Write a table whose numbers are all here. Returns the SHA-256 of the file of each range."""
    ranges = _count_ranges(len(distinct))
    cuts = [*np.searchsorted(distinct, frequencies.compute_range_starts(ranges)).tolist(), len(distinct)]
    hashes = []
    for number, (low, high) in enumerate(pairwise(cuts)):
        data = frequencies.encode_counts(*frequencies.sum_counts([(distinct[low:high], counts[low:high])], least=2))
        objects.write(f"{uri}/{file_name(table, number)}", data)
        hashes.append(hashlib.sha256(data).hexdigest())
    return hashes


def _run_on_ray(rows: list[dict[str, Any]], work: Callable[[dict[str, Any]], dict[str, Any]]) -> list[dict[str, Any]]:
    if not rows:
        return []
    return list(log_until_first_row(iter(ray_dataset(rows).map(work).iter_rows()), "references"))


def _count_group(row: dict[str, Any], uri: str, counter: Counter) -> dict[str, str]:
    """Count a group of parts, unless its run exists. Returns the sizes of the run, as JSON."""
    names = json.loads(row["group"])
    summary_uri = f"{uri}/runs/{names[0]}.json"
    if objects.exists(summary_uri):
        return {"sizes": objects.read(summary_uri).decode()}
    sizes = {}
    for table, (total, distinct, counts) in _count_parts(names, counter).items():
        cuts = np.searchsorted(distinct, frequencies.compute_range_starts(BUCKETS)).tolist()
        objects.write(f"{uri}/runs/{names[0]}.{table}", frequencies.encode_counts(distinct, counts))
        sizes[table] = {
            "total": total,
            "entries": len(distinct),
            "cuts": [*cuts, len(distinct)],
        }
    objects.write(summary_uri, json.dumps(sizes).encode())
    return {"sizes": json.dumps(sizes)}


def _sum_range(row: dict[str, Any], uri: str, table: str, ranges: int, firsts: Sequence[str]) -> dict[str, Any]:
    """Sum one range over all runs and write it. Returns the SHA-256 of its file.

    Raises RetryableError when another job has finished the tables and deleted the runs.
    """
    number, buckets = row["range"], BUCKETS // ranges
    runs = []
    for first in firsts:
        try:
            sizes = json.loads(objects.read(f"{uri}/runs/{first}.json"))[table]
            low, high = sizes["cuts"][number * buckets], sizes["cuts"][(number + 1) * buckets]
            run = f"{uri}/runs/{first}.{table}"
            distinct = objects.read_range(run, low * 8, (high - low) * 8)
            counts = objects.read_range(run, sizes["entries"] * 8 + low * 4, (high - low) * 4)
        except FileNotFoundError:
            raise RetryableError(
                f"{uri}/runs/{first}: gone, another job has just finished these tables; run again"
            ) from None
        runs.append((np.frombuffer(distinct, "<u8"), np.frombuffer(counts, "<u4")))
    data = frequencies.encode_counts(*frequencies.sum_counts(runs, least=2))
    objects.write(f"{uri}/{file_name(table, number)}", data)
    return {"range": number, "sha256": hashlib.sha256(data).hexdigest()}
