"""Score the captions, compare them with the baseline's, and say PASS, FAIL, INCONCLUSIVE or INCOMPLETE.

    python -m ray_jobs.evaluate --spec URI

Three steps, the first two resumed part by part: the judge answers about every caption, every image gets its row of
scores, the scores are summed up and gated. A new judge or metric runs over kept captions.
"""

import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from ray_jobs import job, parts, storage
from ray_jobs.asking import Times, ask_parts, request
from ray_jobs.contract import METRICS, Manifest, Part, Scores, Spec
from ray_jobs.engine.prompt import PromptMaker
from ray_jobs.gate.pairing import paired
from ray_jobs.gate.verdict import decide
from ray_jobs.metrics import Captioned, registry
from ray_jobs.metrics import judge as judging
from ray_jobs.metrics.summary import summarise
from ray_jobs.progress import Progress

log = logging.getLogger("assay")

NEEDS_REFERENCES = ("exact_match", "chrf")


def evaluate(spec: Spec) -> None:
    """Make the scores and the verdict of the spec complete."""
    captions = parts.require(spec.captions_uri, "caption")
    if spec.force:
        parts.forget(spec.run_uri, spec.force, keep=("spec", "record.json"))
    if storage.exists(f"{spec.run_uri}/verdict.json"):
        log.info("run %s has its verdict", spec.run_uri)
        return
    began = time.time()
    times = Times(began)
    if spec.judge:
        judge_captions(spec, captions, times)
    judged = time.time()
    made = score(spec, captions)
    seconds = {"judge": judged - began, "score": time.time() - judged, **times.seconds()}
    manifest = parts.summed("scores", spec.run_id, made, captions.rows_in, _rounded(seconds), captions.versions)
    table = load_scores(spec.run_uri, [part.name for part in made])
    scores = summed_up(spec, manifest, table)
    storage.write(f"{spec.run_uri}/scores.json", scores.model_dump_json(indent=1).encode())

    pairs = paired(table, baseline_scores(spec), list(spec.suite.gate.metrics)) if spec.baseline else None
    verdict = decide(spec.suite.gate, scores, spec.baseline, pairs)
    storage.write(f"{spec.run_uri}/verdict.json", verdict.model_dump_json(indent=1).encode())
    log.info("verdict: %s: %s", verdict.outcome, verdict.reason)


def judge_captions(spec: Spec, captions: Manifest, times: Times) -> None:
    """Have the judge answer about every caption; its answers are kept as parts, the useless ones too."""
    assert spec.judge
    done = parts.done(spec.run_uri, "judge")
    sizes = {part.name: part.rows - sum(part.lost.values()) for part in captions.parts}
    progress = Progress("judge", captions.rows_out, sum(rows for name, rows in sizes.items() if name in done))
    pending = {name: rows for name, rows in sizes.items() if rows and name not in done}
    if not pending:
        return
    for name, answers in ask_parts(spec.judge, spec.suite.judge.engine, pending, _questions(spec), times):
        asked = [row["image_id"] for row in _captioned(spec, name)]
        answers = answers.select(["text", "failure", "detail", "tokens"]).append_column("image_id", [asked])
        progress.add(parts.write(spec.run_uri, name, answers, {}, "judge").rows)


def score(spec: Spec, captions: Manifest) -> list[Part]:
    """Score every part that is not scored yet; all of them, described."""
    names = [part.name for part in captions.parts]
    work = ray.data.from_items([{"part": name} for name in names], override_num_blocks=len(names))
    scored = work.map(_score_part, fn_kwargs={"spec": spec}).iter_rows()
    return [Part.model_validate_json(row["part"]) for row in scored]


def load_scores(run_uri: str, names: list[str]) -> pa.Table:
    """The scores of a run, one row an image, in the order of the golden set."""
    return pa.concat_tables([parts.read(run_uri, name, folder="scores") for name in sorted(names)])


def baseline_scores(spec: Spec) -> pa.Table:
    """The kept scores of the baseline's run."""
    assert spec.baseline
    return load_scores(spec.baseline.run_uri, sorted(parts.done(spec.baseline.run_uri, "scores")))


def summed_up(spec: Spec, manifest: Manifest, table: pa.Table) -> Scores:
    """Every metric over all images, with its error bar and the number of images that should have had a value."""
    with_references = sum(table["references"].to_pylist())
    metrics = {
        name: summarise(
            np.asarray(table[name].to_numpy(zero_copy_only=False), dtype=float),
            expected=with_references if name in NEEDS_REFERENCES else table.num_rows,
        )
        for name in (*METRICS, *spec.suite.judge.metrics())
    }
    return Scores(
        run_id=spec.run_id,
        scale_id=spec.scale_id,
        images=manifest.rows_in,
        scored=manifest.rows_out,
        failed=manifest.lost,
        metrics=metrics,
        manifest=manifest,
    )


def _questions(spec: Spec) -> Callable[[str, PromptMaker], Iterator[dict[str, Any]]]:
    """What to ask the judge about a part, as a function that Ray can send."""
    judge = spec.suite.judge
    sampling = {
        "max_tokens": judge.max_tokens,
        "temperature": 0.0,
        "structured_outputs": {"json": judging.schema(judge)},
    }

    def requests(part: str, maker: PromptMaker) -> Iterator[dict[str, Any]]:
        golden = parts.read(spec.golden_uri, part, ["image_id", "image", "references"]).to_pylist()
        by_id = {row["image_id"]: row for row in golden}
        for number, caption in enumerate(_captioned(spec, part)):
            image = by_id[caption["image_id"]]
            text = judging.question(judge, caption["caption"], image["references"])
            yield request(part, number, image["image"], text, maker, sampling)

    return requests


def _captioned(spec: Spec, part: str) -> list[dict[str, Any]]:
    """The rows of a part that have a caption, in order."""
    rows = parts.read(spec.captions_uri, part, ["image_id", "caption", "failure"]).to_pylist()
    return [row for row in rows if row["failure"] is None]


def _score_part(row: dict[str, Any], spec: Spec) -> dict[str, str]:
    name = row["part"]
    if storage.exists(parts.uri_of_part(spec.run_uri, name, "scores")):
        data = storage.read(parts.uri_of_part(spec.run_uri, name, "scores"))
        return {"part": parts.describe(name, data).model_dump_json()}
    golden = {one["image_id"]: one for one in parts.read(spec.golden_uri, name, ["image_id", "references"]).to_pylist()}
    answers: dict[str, dict[str, Any]] = {}
    if spec.judge and name in parts.done(spec.run_uri, "judge"):
        answers = {one["image_id"]: one for one in parts.read(spec.run_uri, name, folder="judge").to_pylist()}
    rows = [
        _scored(spec, caption, golden[caption["image_id"]]["references"], answers.get(caption["image_id"]))
        for caption in parts.read(spec.captions_uri, name).to_pylist()
    ]
    lost = Counter(one["failure"] for one in rows if one["failure"])
    table = pa.Table.from_pylist(rows, schema=_schema(spec))
    part = parts.write(spec.run_uri, name, table, {"lost": dict(sorted(lost.items()))}, "scores")
    return {"part": part.model_dump_json()}


def _scored(
    spec: Spec, caption: dict[str, Any], references: list[str], answer: dict[str, Any] | None
) -> dict[str, Any]:
    """One image's row: its values, or why there are none. A missing score is missing, never 0."""
    row: dict[str, Any] = {"image_id": caption["image_id"], "references": bool(references), "failure": None}
    if caption["failure"] is not None:
        return row | {"failure": "no-caption"}
    seen = Captioned(caption["caption"], caption["tokens"], caption["finish_reason"], tuple(references))
    row |= {name: metric(seen) for name, metric in registry().items()}
    if spec.judge:
        found = judging.read(spec.suite.judge, answer["text"], answer["failure"]) if answer else judging.SILENT
        row |= {**found.values, "rationale": found.rationale, "failure": found.failure}
    return row


def _schema(spec: Spec) -> pa.Schema:
    values = {name: pa.float64() for name in (*METRICS, *spec.suite.judge.metrics())}
    fixed = {"image_id": pa.string(), "references": pa.bool_(), "failure": pa.string(), "rationale": pa.string()}
    return pa.schema(fixed | values)


def _rounded(seconds: dict[str, float]) -> dict[str, float]:
    return {what: round(took, 3) for what, took in seconds.items()}


if __name__ == "__main__":
    sys.exit(job.run("evaluate", evaluate))
