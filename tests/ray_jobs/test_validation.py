"""One checkpoint from its images to its record on a real S3 server: images, checkpoint, judge and results all there.

The judge's first driver is killed in the middle.
"""

import json
import math
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from ray_cluster import Cluster
from samples import make_baseline
from stage_jobs import (
    DEMO,
    GOOD,
    PROMPT,
    assert_every_image_once,
    kill_when,
    plan_spec,
    read_rows,
    run_stage,
    start_stage,
    take_snapshot,
)

from ray_jobs import publish
from ray_jobs.caption import SCHEMA
from ray_jobs.contract.artifacts import Scores
from ray_jobs.contract.spec import Checkpoint, Spec
from ray_jobs.judge import answer_store, questions
from ray_jobs.judge.answer_store import Answer
from ray_jobs.judge.judgements import load_judgements
from ray_jobs.judge.preference import read_preferences
from ray_jobs.metrics.registry import build_metrics
from ray_jobs.storage import index, manifests, object_listing, objects, parts, records, s3_client

pytestmark = pytest.mark.integration
CRITERIA = ["count", "colour", "size", "shape", "position", "background"]


def put(uri: str, folder: Path) -> str:
    for path in folder.rglob("*"):
        if path.is_file():
            objects.write(f"{uri}/{path.relative_to(folder).as_posix()}", path.read_bytes())
    return uri


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {"folder": tmp_path_factory.mktemp("validation")}


@pytest.fixture
def validated(place: dict[str, Any], on_cluster: Cluster) -> Spec:
    """A run to its record; twelve scenes, every faulty file."""
    if "spec" not in place:
        s3_client.get_client().create_bucket(Bucket="validation")
        bucket = "s3://validation"
        put(f"{bucket}/images/faulty", DEMO / "images" / "faulty")
        lines = (DEMO / "images" / "metadata.jsonl").read_text().splitlines()[:24]
        for line in lines:
            name = json.loads(line)["file_name"]
            objects.write(f"{bucket}/images/{name}", (DEMO / "images" / name).read_bytes())
        objects.write(f"{bucket}/images/metadata.jsonl", "\n".join(lines).encode())
        spec = plan_spec(
            place["folder"],
            f"{bucket}/results",
            put(f"{bucket}/models/step-0800", GOOD),
            f"{bucket}/images/",
            dataset={"references": "caption"},
            preprocess={"max_rejected_fraction": 0.5},
            caption={"prompt": PROMPT, "max_tokens": 32},
            judge={
                "kind": "vllm",
                "model": put(f"{bucket}/models/judge", DEMO / "judge"),
                "prompt": "judge: {caption}",
                "criteria": CRITERIA,
                "max_tokens": 96,
                "engine": {"dtype": "float32", "max_model_len": 512, "max_num_seqs": 2, "enforce_eager": True},
            },
            gate={"coverage": 0.5, "metrics": {"chrf": {"margin": 1.0}}},
        )
        run_stage("preprocess", spec)
        run_stage("caption", spec)
        kill_when(start_stage("evaluate", spec), lambda: len(list(object_listing.iterate_entries(spec.judge_uri))) >= 1)
        assert not objects.exists(f"{spec.run_uri}/scores.json")
        judged = answers_of(spec)
        assert 0 < len(judged) < 30
        run_stage("evaluate", spec)
        assert judged.items() <= answers_of(spec).items(), "the judge was asked again"
        publish.publish(spec)
        place["spec"] = spec
    validated: Spec = place["spec"]
    return validated


def test_every_image_is_accounted_for_in_the_record(validated: Spec) -> None:
    assert_every_image_once(validated)
    record = records.read(validated.run_uri)
    assert record.images["read"] == 24 + 15
    assert record.images["read"] == sum(record.images[name] for name in ("rejected", "captioned", "failed"))
    assert record.images["captioned"] == 30
    assert [entry.run_id for entry in index.list_entries(validated.root, "tiny")] == [validated.run_id]
    assert record.verdict.outcome == "PASS"


def scores(spec: Spec) -> Scores:
    return Scores.model_validate_json(objects.read(f"{spec.run_uri}/scores.json"))


def table(spec: Spec) -> dict[str, dict[str, Any]]:
    """The scores of each image."""
    return {row["image_id"]: row for row in read_rows(spec.scores_uri)}


def names_of(spec: Spec) -> list[str]:
    return [part.name for part in manifests.require_manifest(spec.captions_uri, "caption").parts]


def answers_of(spec: Spec) -> dict[str, Answer]:
    """The kept answer about each image's caption."""
    found: dict[str, Any] = {}
    for name in names_of(spec):
        asked = {
            one.image_id: one.questions[0].key for one in questions.build_caption_questions(spec, spec.caption_id, name)
        }
        kept = answer_store.load_answers(spec.judge_uri, name, set(asked.values()))
        found |= {image_id: kept[key] for image_id, key in asked.items() if key in kept}
    return found


def test_the_scores_are_those_computed_by_hand(validated: Spec) -> None:
    from sacrebleu import sentence_chrf

    truth = {row["image_id"]: row["references"] for row in read_rows(validated.golden_uri)}
    found = {row["image_id"]: row for row in read_rows(validated.captions_uri)}
    per_image = table(validated)
    for name, row in per_image.items():
        caption = found[name]["caption"]
        assert row["words"] == len(caption.split())
        assert row["tokens"] == found[name]["tokens"]
        if truth[name]:
            assert row["exact_match"] == (caption == truth[name][0])
            assert row["chrf"] == pytest.approx(sentence_chrf(caption, truth[name]).score)
        else:
            assert (row["exact_match"], row["chrf"]) == (None, None)

    summed = scores(validated)
    for name, summary in summed.metrics.items():
        values = [row[name] for row in per_image.values() if row[name] is not None]
        assert summary.n == len(values)
        if not values:  # of a label, where the data set has none
            assert summary.mean is None
            continue
        assert summary.mean == pytest.approx(statistics.fmean(values))
        error = build_metrics(validated)[name].order * statistics.stdev(values) / math.sqrt(len(values))
        assert summary.standard_error == pytest.approx(error)
    assert summed.metrics["chrf"].expected == summed.metrics["chrf"].n == 24
    assert summed.metrics["words"].n == 30


def test_the_judges_answers_are_read_as_they_are_written(validated: Spec) -> None:
    told = answers_of(validated)
    per_image = table(validated)
    assert set(told) == set(per_image)
    judged = 0
    for name, row in per_image.items():
        try:
            said = json.loads(str(told[name].text))
        except ValueError:
            assert (row["judge"], row["failure"]) == (None, "judge-invalid-answer")
            continue
        judged += 1
        assert list(said) == ["rationale", *CRITERIA]
        assert row["judge"] == pytest.approx(sum(said[name] for name in CRITERIA) / len(CRITERIA))
        assert {name: row[f"judge_{name}"] for name in CRITERIA} == {name: float(said[name]) for name in CRITERIA}
    summed = scores(validated)
    assert summed.metrics["judge"].n == judged >= 15
    assert summed.scored == judged
    assert sum(summed.failed.values()) == 30 - judged


def test_scores_are_made_again_over_kept_answers_without_the_judge(validated: Spec) -> None:
    kept, before = take_snapshot(validated.judge_uri), scores(validated)
    for uri in (validated.scores_uri, f"{validated.run_uri}/scores.json", f"{validated.run_uri}/verdict.json"):
        for entry in list(object_listing.iterate_entries(uri)):
            objects.delete(f"{uri}/{entry.key}")
        objects.delete(uri)
    output = run_stage("evaluate", validated)
    assert "engine: asking" not in output
    assert take_snapshot(validated.judge_uri) == kept
    assert scores(validated).metrics == before.metrics


def test_pairs_and_new_captions_are_asked_by_one_engine_and_kept_answers_are_not(validated: Spec) -> None:
    """The second checkpoint's captions are the first's, some of them changed: no engine is needed to make them."""
    suite = validated.suite
    paired = validated.model_copy(
        update={
            "suite": suite.model_copy(update={"judge": suite.judge.model_copy(update={"pairwise": True})}),
            "checkpoint": Checkpoint(uri=validated.checkpoint.uri, name="other", fingerprint="f" * 16),
            "baseline": make_baseline(validated),
        }
    )
    made = []
    for number, name in enumerate(names_of(validated)):
        captions = parts.read(validated.captions_uri, name).to_pylist()
        captions[0]["caption"] = f"something else {number}"
        made.append(parts.write(paired.captions_uri, name, pa.Table.from_pylist(captions, schema=SCHEMA), {"lost": {}}))
    manifests.commit(paired.captions_uri, manifests.build_manifest("captions", paired.caption_id, made, 30, {}, {}))
    objects.write(paired.uri, paired.model_dump_json().encode())
    output = run_stage("evaluate", paired)
    assert output.count("engine: asking") == 1
    changed = len(made)
    totals = json.loads(objects.read(f"{paired.run_uri}/judge.json"))
    assert totals["questions"] == 30 + changed + 2 * changed
    assert totals["cached"] == sum(answer.failure is None for answer in answers_of(validated).values())
    assert totals["asked"]["questions"] == totals["questions"] - totals["cached"]
    assert totals["answered"] + sum(totals["failed"].values()) == totals["questions"]
    assert totals["spent"]["prompt_tokens"] > 0
    manifest = manifests.require_manifest(f"{paired.run_uri}/preference", "evaluate")
    assert manifest.details["equal"] == 30 - changed
    told = [row for name in names_of(paired) for row in read_preferences(paired, name)]
    assert {row["image_id"] for row in told} == set(table(validated))
    assert all((row["preference"] is None) == (row["failure"] is not None) for row in told)
    assert {row["preference"] for row in told} <= {-1.0, 0.0, 1.0, None}


def test_an_answer_that_is_lost_or_useless_is_missing_and_counted(validated: Spec) -> None:
    """Scored without the judge: an answer that never came is silent, and one that failed has its reason."""
    other = validated.model_copy(update={"root": f"{validated.root}-spoiled"})
    for source, target in ((validated.captions_uri, other.captions_uri), (validated.golden_uri, other.golden_uri)):
        for entry in list(object_listing.iterate_entries(source)):
            objects.write(f"{target}/{entry.key}", objects.read(f"{source}/{entry.key}"))
    kept = answers_of(validated)
    name = names_of(validated)[0]
    first, second, third = list(load_judgements(validated, validated.caption_id, name))[:3]
    spoiled = {
        first: replace(kept[first], text='{"rationale": "cut off'),
        second: replace(kept[second], text=None, failure="engine-error"),
    }
    for part in names_of(validated):
        mine = load_judgements(validated, validated.caption_id, part)
        given = [spoiled.get(image_id, kept[image_id]) for image_id in mine if image_id != third]
        answer_store.save_answers(other.judge_uri, part, given)
    told = load_judgements(other, other.caption_id, name)
    assert [(told[one].failure, told[one].values) for one in (first, second, third)] == [
        ("judge-invalid-answer", {}), ("judge-engine-error", {}), ("judge-silent", {}),
    ]  # fmt: skip
    before = load_judgements(validated, validated.caption_id, name)
    assert {key: one for key, one in told.items() if key not in (first, second, third)} == {
        key: one for key, one in before.items() if key not in (first, second, third)
    }
