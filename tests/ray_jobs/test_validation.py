"""One checkpoint from its images to its record on a real S3 server: images, checkpoint, judge and results all there.

The judge's first driver is killed in the middle.
"""

import json
import math
import statistics
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from ray_cluster import Cluster
from running import DEMO, GOOD, PROMPT, assert_every_image_once, killed, planned, rows, run, snapshot, start

from ray_jobs import parts, publish, records, storage
from ray_jobs.contract import Scores, Spec

pytestmark = pytest.mark.integration
CRITERIA = ["count", "colour", "size", "shape", "position", "background"]


def put(uri: str, folder: Path) -> str:
    for path in folder.rglob("*"):
        if path.is_file():
            storage.write(f"{uri}/{path.relative_to(folder).as_posix()}", path.read_bytes())
    return uri


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {"folder": tmp_path_factory.mktemp("validation")}


@pytest.fixture
def validated(place: dict[str, Any], on_cluster: Cluster) -> Spec:
    """A run to its record; twelve scenes, every faulty file."""
    if "spec" not in place:
        storage._s3().create_bucket(Bucket="validation")
        bucket = "s3://validation"
        put(f"{bucket}/images/faulty", DEMO / "images" / "faulty")
        lines = (DEMO / "images" / "metadata.jsonl").read_text().splitlines()[:24]
        for line in lines:
            name = json.loads(line)["file_name"]
            storage.write(f"{bucket}/images/{name}", (DEMO / "images" / name).read_bytes())
        storage.write(f"{bucket}/images/metadata.jsonl", "\n".join(lines).encode())
        spec = planned(
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
        run("preprocess", spec)
        run("caption", spec)
        killed(start("evaluate", spec), lambda: len(parts.done(spec.run_uri, "judge")) >= 1)
        assert not storage.exists(f"{spec.run_uri}/scores.json")
        judged = snapshot(f"{spec.run_uri}/judge")
        assert len(judged) < 4
        run("evaluate", spec)
        assert judged.items() <= snapshot(f"{spec.run_uri}/judge").items(), "the judge was asked again"
        publish.publish(spec)
        place["spec"] = spec
    spec: Spec = place["spec"]
    return spec


def test_every_image_is_accounted_for_in_the_record(validated: Spec) -> None:
    assert_every_image_once(validated)
    record = records.read(validated.run_uri)
    assert record.images["read"] == 24 + 15
    assert record.images["read"] == sum(record.images[name] for name in ("rejected", "captioned", "failed"))
    assert record.images["captioned"] == 30
    assert [entry.run_id for entry in records.published(validated.root, "tiny")] == [validated.run_id]
    assert record.verdict.outcome == "PASS"


def scores(spec: Spec) -> Scores:
    return Scores.model_validate_json(storage.read(f"{spec.run_uri}/scores.json"))


def table(spec: Spec, folder: str) -> list[dict[str, Any]]:
    names = sorted(parts.done(spec.run_uri, folder))
    found: list[dict[str, Any]] = pa.concat_tables(
        [parts.read(spec.run_uri, name, folder=folder) for name in names]
    ).to_pylist()
    return found


def test_the_scores_are_those_computed_by_hand(validated: Spec) -> None:
    from sacrebleu import sentence_chrf

    truth = {row["image_id"]: row["references"] for row in rows(validated.golden_uri)}
    found = {row["image_id"]: row for row in rows(validated.captions_uri)}
    per_image = {row["image_id"]: row for row in table(validated, "scores")}
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
        assert summary.mean == pytest.approx(statistics.fmean(values))
        assert summary.standard_error == pytest.approx(statistics.stdev(values) / math.sqrt(len(values)))
    assert summed.metrics["chrf"].expected == summed.metrics["chrf"].n == 24
    assert summed.metrics["words"].n == 30


def test_the_judges_answers_are_read_as_they_are_written(validated: Spec) -> None:
    answers = {row["image_id"]: row for row in table(validated, "judge")}
    per_image = {row["image_id"]: row for row in table(validated, "scores")}
    assert set(answers) == set(per_image)
    judged = 0
    for name, row in per_image.items():
        try:
            said = json.loads(answers[name]["text"])
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
    answers, before = snapshot(f"{validated.run_uri}/judge"), scores(validated)
    for entry in list(storage.entries(f"{validated.run_uri}/scores")):
        storage.delete(f"{validated.run_uri}/scores/{entry.key}")
    storage.delete(f"{validated.run_uri}/scores.json")
    storage.delete(f"{validated.run_uri}/verdict.json")
    output = run("evaluate", validated)
    assert "starting vLLM" not in output
    assert snapshot(f"{validated.run_uri}/judge") == answers
    assert scores(validated).metrics == before.metrics


def test_an_answer_that_is_lost_or_useless_is_missing_and_counted(validated: Spec) -> None:
    name = sorted(parts.done(validated.run_uri, "judge"))[0]
    uri = parts.uri_of_part(validated.run_uri, name, "judge")
    kept = storage.read(uri)
    spoiled = parts.read(validated.run_uri, name, folder="judge").to_pylist()
    spoiled[0] |= {"text": '{"rationale": "cut off'}
    spoiled[1] |= {"text": None, "failure": "engine-error"}
    lost = {row["image_id"] for row in spoiled[:3]}
    before = {row["image_id"]: row for row in table(validated, "scores")}
    other = validated.model_copy(update={"root": f"{validated.root}-spoiled"})
    for source, target in ((validated.captions_uri, other.captions_uri), (validated.golden_uri, other.golden_uri)):
        for entry in list(storage.entries(source)):
            storage.write(f"{target}/{entry.key}", storage.read(f"{source}/{entry.key}"))
    for part in parts.done(validated.run_uri, "judge"):
        storage.write(
            parts.uri_of_part(other.run_uri, part, "judge"),
            storage.read(parts.uri_of_part(validated.run_uri, part, "judge")),
        )
    storage.write(other.uri, other.model_dump_json().encode())
    parts.write_file(parts.uri_of_part(other.run_uri, name, "judge"), pa.Table.from_pylist(spoiled[:2] + spoiled[3:]))
    run("evaluate", other)
    after = {row["image_id"]: row for row in table(other, "scores")}
    assert {name: row["failure"] for name, row in after.items() if name in lost} == dict(
        zip([row["image_id"] for row in spoiled[:3]],
            ["judge-invalid-answer", "judge-engine-error", "judge-silent"], strict=True)
    )  # fmt: skip
    assert {after[name]["judge"] for name in lost} == {None}
    assert {name: row for name, row in after.items() if name not in lost} == {
        name: row for name, row in before.items() if name not in lost
    }
    assert scores(other).metrics["judge"].n == sum(row["judge"] is not None for row in after.values())
    assert_every_image_once(other)
    assert storage.read(uri) == kept
