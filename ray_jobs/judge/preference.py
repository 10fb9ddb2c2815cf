"""Computes which caption the judge prefers, image by image: the baseline's (-1), the candidate's (+1) or neither (0).

The driver of `evaluate` calls it. It compares the parts of a small set itself; Ray tasks compare those of a larger one.
Preferences depend on the baseline, so they are in `preference/` among the run's results, and not among the scores. The
judge has compared each pair twice, with the captions in both orders. If the two answers contradict each other, they
show a habit and not a preference: a tie.
"""

from collections import Counter
from functools import partial
from typing import Any

import pyarrow as pa

from ray_jobs.contract.artifacts import Manifest, Part
from ray_jobs.contract.spec import Spec
from ray_jobs.judge import answer_store
from ray_jobs.judge.questions import build_pair_questions
from ray_jobs.judge.rubric import Choice, parse_pair_answer
from ray_jobs.runtime.prefetch import prefetch
from ray_jobs.runtime.ray_dataset import SMALL_ROWS, ray_dataset
from ray_jobs.storage import manifests, objects, parts

SCHEMA = pa.schema(
    {
        "image_id": pa.string(),
        "preference": pa.float64(),
        "consistent": pa.bool_(),
        "failure": pa.string(),
        "rationale": pa.string(),
    }
)
FOLDER = "preference"
READERS = 8  # parts that the driver compares at once, because storage may be far away


def compute_preferences(spec: Spec) -> Manifest | None:
    """Complete the preferences of the run and return their manifest; None for a run that compares no captions.

    The manifest's `details` count pairs: `equal` captions (a tie that the judge is not asked about), `asked` with a
    valid answer in both orders, and `inconsistent`. `position_bias` is the share of inconsistent pairs. `first` counts
    the answers that prefer the caption that was shown first.
    """
    if spec.baseline is None or not spec.suite.judge.pairwise or spec.suite.judge.kind == "none":
        return None
    if existing := manifests.load_manifest(f"{spec.results_uri}/{FOLDER}"):
        return existing
    captions = manifests.require_manifest(spec.captions_uri, "caption")
    tasks = [{"part": part.name} for part in captions.parts]
    if captions.rows_in <= SMALL_ROWS:
        rows = prefetch(partial(compare_part, spec=spec), tasks, READERS)
    else:
        rows = ray_dataset(tasks).map(compare_part, fn_kwargs={"spec": spec}).iter_rows()
    written = [Part.model_validate_json(row["part"]) for row in rows]
    return commit_preferences(spec, captions, written)


def commit_preferences(spec: Spec, captions: Manifest, written: list[Part]) -> Manifest:
    """Write the manifest of the parts, with the counts from their footers."""
    counts = Counter[str]()
    for part in written:
        counts.update(parts.decode_footer(objects.read(_part_uri(spec, part.name)))["pairs"])
    details: dict[str, Any] = {name: counts[name] for name in ("equal", "asked", "inconsistent", "first")}
    details["position_bias"] = counts["inconsistent"] / counts["asked"] if counts["asked"] else None
    manifest = manifests.build_manifest("preference", spec.run_id, written, captions.rows_in, {}, {}, details)
    return manifests.commit(f"{spec.results_uri}/{FOLDER}", manifest)


def read_preferences(spec: Spec, part: str) -> list[dict[str, Any]]:
    """The rows of a part: image_id, preference (None with a `failure`), consistent (None when equal) and rationale."""
    rows: list[dict[str, Any]] = parts.read(spec.results_uri, part, folder=FOLDER).to_pylist()
    return rows


def compare_part(row: dict[str, Any], spec: Spec) -> dict[str, str]:
    """Compare the captions of one part, unless its file exists; return its entry in the manifest."""
    name = row["part"]
    if objects.exists(_part_uri(spec, name)):
        return {"part": parts.describe(name, objects.read(_part_uri(spec, name))).model_dump_json()}
    pairs = {pair.image_id: pair.questions for pair in build_pair_questions(spec, name)}
    answers = answer_store.load_answers(
        spec.judge_uri, name, {question.key for questions in pairs.values() for question in questions}
    )
    ids = parts.read(spec.captions_uri, name, ["image_id"])["image_id"].to_pylist()
    counts = Counter[str]()
    rows = []
    for image_id in ids:
        choices = None
        if image_id in pairs:
            answers_of_image = [answers.get(question.key) for question in pairs[image_id]]
            choices = [
                parse_pair_answer(answer.text if answer else None, answer.failure if answer else None)
                for answer in answers_of_image
            ]
        rows.append({"image_id": image_id} | _combine_choices(choices, counts))
    failures = Counter(row["failure"] for row in rows if row["failure"])
    footer = {"lost": dict(sorted(failures.items())), "pairs": dict(sorted(counts.items()))}
    part = parts.write(spec.results_uri, name, pa.Table.from_pylist(rows, schema=SCHEMA), footer, FOLDER)
    return {"part": part.model_dump_json()}


def _combine_choices(choices: list[Choice] | None, counts: Counter[str]) -> dict[str, Any]:
    """The preference from two choices: with the baseline's caption first, and with it second. Adds to the counts.

    An empty list means equal captions. When the choices agree, the rationale is that of the first.
    """
    if choices is None:
        return {"preference": None, "consistent": None, "failure": "no-caption", "rationale": None}
    if not choices:
        counts["equal"] += 1
        return {"preference": 0.0, "consistent": None, "failure": None, "rationale": None}
    if failed := next((choice for choice in choices if choice.failure), None):
        return {"preference": None, "consistent": None, "failure": failed.failure, "rationale": failed.rationale}
    first, second = choices
    votes = {"first": -1.0, "tie": 0.0, "second": 1.0}
    vote, turned = votes[str(first.better)], -votes[str(second.better)]
    counts["asked"] += 1
    counts["inconsistent"] += vote != turned
    counts["first"] += [first.better, second.better].count("first")
    if vote == turned:
        return {"preference": vote, "consistent": True, "failure": None, "rationale": first.rationale}
    both = f"baseline's first: {first.rationale} | candidate's first: {second.rationale}"
    return {"preference": 0.0, "consistent": False, "failure": None, "rationale": both}


def _part_uri(spec: Spec, name: str) -> str:
    return manifests.uri_of_part(spec.results_uri, name, FOLDER)
