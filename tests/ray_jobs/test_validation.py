"""One checkpoint from its images to its record, with all files on a real S3 server.

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


def upload_folder(uri: str, folder: Path) -> str:
    for path in folder.rglob("*"):
        if path.is_file():
            objects.write(f"{uri}/{path.relative_to(folder).as_posix()}", path.read_bytes())
    return uri


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {"folder": tmp_path_factory.mktemp("validation")}


@pytest.fixture
def validated_spec(place: dict[str, Any], on_cluster: Cluster) -> Spec:
    """A run up to its record: twelve scenes and every faulty file."""
    if "spec" not in place:
        s3_client.get_client().create_bucket(Bucket="validation")
        bucket = "s3://validation"
        upload_folder(f"{bucket}/images/faulty", DEMO / "images" / "faulty")
        lines = (DEMO / "images" / "metadata.jsonl").read_text().splitlines()[:24]
        for line in lines:
            name = json.loads(line)["file_name"]
            objects.write(f"{bucket}/images/{name}", (DEMO / "images" / name).read_bytes())
        objects.write(f"{bucket}/images/metadata.jsonl", "\n".join(lines).encode())
        spec = plan_spec(
            place["folder"],
            f"{bucket}/results",
            upload_folder(f"{bucket}/models/step-0800", GOOD),
            f"{bucket}/images/",
            dataset={"references": "caption"},
            preprocess={"max_rejected_fraction": 0.5},
            caption={"prompt": PROMPT, "max_tokens": 32},
            judge={
                "kind": "vllm",
                "model": upload_folder(f"{bucket}/models/judge", DEMO / "judge"),
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
        answers = answers_of(spec)
        assert 0 < len(answers) < 30
        run_stage("evaluate", spec)
        assert answers.items() <= answers_of(spec).items(), "the judge was asked again"
        publish.publish(spec)
        place["spec"] = spec
    published: Spec = place["spec"]
    return published


def test_every_image_is_accounted_for_in_the_record(validated_spec: Spec) -> None:
    assert_every_image_once(validated_spec)
    record = records.read(validated_spec.run_uri)
    assert record.images["read"] == 24 + 15
    assert record.images["read"] == sum(record.images[name] for name in ("rejected", "captioned", "failed"))
    assert record.images["captioned"] == 30
    assert [entry.run_id for entry in index.list_entries(validated_spec.root, "tiny")] == [validated_spec.run_id]
    assert record.verdict.outcome == "PASS"


def scores(spec: Spec) -> Scores:
    return Scores.model_validate_json(objects.read(f"{spec.run_uri}/scores.json"))


def table(spec: Spec) -> dict[str, dict[str, Any]]:
    """The scores of each image."""
    return {row["image_id"]: row for row in read_rows(spec.scores_uri)}


def names_of(spec: Spec) -> list[str]:
    return [part.name for part in manifests.require_manifest(spec.captions_uri, "caption").parts]


def answers_of(spec: Spec) -> dict[str, Answer]:
    """The stored answer for each image's caption."""
    answers: dict[str, Any] = {}
    for name in names_of(spec):
        keys = {
            question.image_id: question.questions[0].key
            for question in questions.build_caption_questions(spec, spec.caption_id, name)
        }
        stored = answer_store.load_answers(spec.judge_uri, name, set(keys.values()))
        answers |= {image_id: stored[key] for image_id, key in keys.items() if key in stored}
    return answers


def test_the_scores_are_those_computed_by_hand(validated_spec: Spec) -> None:
    from sacrebleu import sentence_chrf

    truth = {row["image_id"]: row["references"] for row in read_rows(validated_spec.golden_uri)}
    rows_by_id = {row["image_id"]: row for row in read_rows(validated_spec.captions_uri)}
    per_image = table(validated_spec)
    for name, row in per_image.items():
        caption = rows_by_id[name]["caption"]
        assert row["words"] == len(caption.split())
        assert row["tokens"] == rows_by_id[name]["tokens"]
        if truth[name]:
            assert row["exact_match"] == (caption == truth[name][0])
            assert row["chrf"] == pytest.approx(sentence_chrf(caption, truth[name]).score)
        else:
            assert (row["exact_match"], row["chrf"]) == (None, None)

    summed_scores = scores(validated_spec)
    for name, summary in summed_scores.metrics.items():
        values = [row[name] for row in per_image.values() if row[name] is not None]
        assert summary.n == len(values)
        if not values:  # of a label, where the data set has none
            assert summary.mean is None
            continue
        assert summary.mean == pytest.approx(statistics.fmean(values))
        error = build_metrics(validated_spec)[name].order * statistics.stdev(values) / math.sqrt(len(values))
        assert summary.standard_error == pytest.approx(error)
    assert summed_scores.metrics["chrf"].expected == summed_scores.metrics["chrf"].n == 24
    assert summed_scores.metrics["words"].n == 30


def test_the_judges_answers_are_read_as_they_are_written(validated_spec: Spec) -> None:
    answers = answers_of(validated_spec)
    per_image = table(validated_spec)
    assert set(answers) == set(per_image)
    judged_count = 0
    for name, row in per_image.items():
        try:
            answer = json.loads(str(answers[name].text))
        except ValueError:
            assert (row["judge"], row["failure"]) == (None, "judge-invalid-answer")
            continue
        judged_count += 1
        assert list(answer) == ["rationale", *CRITERIA]
        assert row["judge"] == pytest.approx(sum(answer[name] for name in CRITERIA) / len(CRITERIA))
        assert {name: row[f"judge_{name}"] for name in CRITERIA} == {name: float(answer[name]) for name in CRITERIA}
    summed_scores = scores(validated_spec)
    assert summed_scores.metrics["judge"].n == judged_count >= 15
    assert summed_scores.scored == judged_count
    assert sum(summed_scores.failed.values()) == 30 - judged_count


def test_scores_are_made_again_over_kept_answers_without_the_judge(validated_spec: Spec) -> None:
    stored, before = take_snapshot(validated_spec.judge_uri), scores(validated_spec)
    for uri in (
        validated_spec.scores_uri,
        f"{validated_spec.run_uri}/scores.json",
        f"{validated_spec.run_uri}/verdict.json",
    ):
        for entry in list(object_listing.iterate_entries(uri)):
            objects.delete(f"{uri}/{entry.key}")
        objects.delete(uri)
    output = run_stage("evaluate", validated_spec)
    assert "engine: asking" not in output
    assert take_snapshot(validated_spec.judge_uri) == stored
    assert scores(validated_spec).metrics == before.metrics


def test_pairs_and_new_captions_are_asked_by_one_engine_and_kept_answers_are_not(validated_spec: Spec) -> None:
    """The second checkpoint has the first one's captions, some of them changed, so no engine has to caption."""
    suite = validated_spec.suite
    paired_spec = validated_spec.model_copy(
        update={
            "suite": suite.model_copy(update={"judge": suite.judge.model_copy(update={"pairwise": True})}),
            "checkpoint": Checkpoint(uri=validated_spec.checkpoint.uri, name="other", fingerprint="f" * 16),
            "baseline": make_baseline(validated_spec),
        }
    )
    captured = []
    for number, name in enumerate(names_of(validated_spec)):
        captions = parts.read(validated_spec.captions_uri, name).to_pylist()
        captions[0]["caption"] = f"something else {number}"
        captured.append(
            parts.write(paired_spec.captions_uri, name, pa.Table.from_pylist(captions, schema=SCHEMA), {"lost": {}})
        )
    manifests.commit(
        paired_spec.captions_uri, manifests.build_manifest("captions", paired_spec.caption_id, captured, 30, {}, {})
    )
    objects.write(paired_spec.uri, paired_spec.model_dump_json().encode())
    output = run_stage("evaluate", paired_spec)
    assert output.count("engine: asking") == 1
    changed_count = len(captured)
    totals = json.loads(objects.read(f"{paired_spec.run_uri}/judge.json"))
    assert totals["questions"] == 30 + changed_count + 2 * changed_count
    assert totals["cached"] == sum(answer.failure is None for answer in answers_of(validated_spec).values())
    assert totals["asked"]["questions"] == totals["questions"] - totals["cached"]
    assert totals["answered"] + sum(totals["failed"].values()) == totals["questions"]
    assert totals["spent"]["prompt_tokens"] > 0
    manifest = manifests.require_manifest(f"{paired_spec.run_uri}/preference", "evaluate")
    assert manifest.details["equal"] == 30 - changed_count
    preferences = [row for name in names_of(paired_spec) for row in read_preferences(paired_spec, name)]
    assert {row["image_id"] for row in preferences} == set(table(validated_spec))
    assert all((row["preference"] is None) == (row["failure"] is not None) for row in preferences)
    assert {row["preference"] for row in preferences} <= {-1.0, 0.0, 1.0, None}


def test_an_answer_that_is_lost_or_useless_is_missing_and_counted(validated_spec: Spec) -> None:
    """Scored without the judge: a missing answer counts as silent, and a failed one has its reason."""
    other = validated_spec.model_copy(update={"root": f"{validated_spec.root}-spoiled"})
    for source, target in (
        (validated_spec.captions_uri, other.captions_uri),
        (validated_spec.golden_uri, other.golden_uri),
    ):
        for entry in list(object_listing.iterate_entries(source)):
            objects.write(f"{target}/{entry.key}", objects.read(f"{source}/{entry.key}"))
    answers = answers_of(validated_spec)
    name = names_of(validated_spec)[0]
    first, second, third = list(load_judgements(validated_spec, validated_spec.caption_id, name))[:3]
    spoiled_answers = {
        first: replace(answers[first], text='{"rationale": "cut off'),
        second: replace(answers[second], text=None, failure="engine-error"),
    }
    for part in names_of(validated_spec):
        judgements = load_judgements(validated_spec, validated_spec.caption_id, part)
        kept_ids = [image_id for image_id in judgements if image_id != third]
        judged_answers = [spoiled_answers.get(image_id, answers[image_id]) for image_id in kept_ids]
        answer_store.save_answers(other.judge_uri, part, judged_answers)
    rejudged = load_judgements(other, other.caption_id, name)
    of_three = [rejudged[image_id] for image_id in (first, second, third)]
    assert [(judgement.failure, judgement.values) for judgement in of_three] == [
        ("judge-invalid-answer", {}), ("judge-engine-error", {}), ("judge-silent", {}),
    ]  # fmt: skip
    before = load_judgements(validated_spec, validated_spec.caption_id, name)
    assert {key: judgement for key, judgement in rejudged.items() if key not in (first, second, third)} == {
        key: judgement for key, judgement in before.items() if key not in (first, second, third)
    }
