"""The committed suite demo-fields through the real jobs: both of its checkpoints on one warm engine."""

import json
from pathlib import Path

import pytest
from ray_cluster import Cluster
from stage_jobs import DEMO, ROOT, read_rows, run_stage

from ray_jobs import publish
from ray_jobs.contract.artifacts import Record
from ray_jobs.contract.spec import Spec
from ray_jobs.plan import plan

pytestmark = pytest.mark.integration
SUITE = ROOT / "dags" / "suites" / "demo-fields.yaml"
FIELDS = ("count", "colour", "shape", "boxes")


def validate(root: Path, checkpoint: str) -> tuple[Spec, Record]:
    spec = plan(str(root), str(SUITE), str(DEMO / "checkpoints-fields" / checkpoint), by_hand=True)
    for stage in ("preprocess", "caption", "evaluate"):
        run_stage(stage, spec)
    return spec, publish.publish(spec)


def test_the_worse_checkpoint_fails_in_its_one_field_and_passes_in_all_else(
    tmp_path: Path, on_cluster: Cluster
) -> None:
    good_spec, good = validate(tmp_path / "root", "step-1600")
    worse_spec, worse = validate(tmp_path / "root", "step-1700")
    assert (good.verdict.outcome, worse.verdict.outcome) == ("PASS", "FAIL")
    outcomes = {
        comparison.metric: comparison.outcome for comparison in worse.verdict.comparisons if not comparison.advisory
    }
    assert outcomes == {
        "exact_match": "PASS",
        "field_count": "PASS",
        "field_colour": "FAIL",
        "field_shape": "PASS",
        "field_boxes_iou": "PASS",
    }
    assert "field_colour" in worse.verdict.reason
    assert worse.verdict.baseline
    assert worse.verdict.baseline.checkpoint.name == "step-1600"

    lines = [json.loads(line) for line in (DEMO / "fields.jsonl").read_text().splitlines()]
    shares = {}
    for spec, record in ((good_spec, good), (worse_spec, worse)):
        rows = read_rows(spec.captions_uri)
        assert len(rows) == len(lines) == 256
        for name in FIELDS[:3]:  # counted here from the parts and the manifest, without the product's metrics
            right = sum(row[name] == line[name] for row, line in zip(rows, lines, strict=True))
            assert record.metrics[f"field_{name}"].mean == pytest.approx(right / 256)
            shares[record.checkpoint.name, name] = right
    assert (
        min(shares[checkpoint, name] for checkpoint in ("step-1600", "step-1700") for name in ("count", "shape")) > 250
    )
    assert shares["step-1600", "colour"] > 250 > 160 > shares["step-1700", "colour"]
