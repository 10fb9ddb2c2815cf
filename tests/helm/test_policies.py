"""The example policies of the object store, evaluated here as IAM evaluates them: who may write which objects."""

import fnmatch
import json
from typing import Any

import pytest
from charts import HELM

POLICIES: dict[str, Any] = {path.stem: json.loads(path.read_text()) for path in sorted(HELM.glob("policies/*.json"))}
READ, WRITE, DELETE = "s3:GetObject", "s3:PutObject", "s3:DeleteObject"
PERMISSIONS = [
    ("data", READ, "checkpoints/step-1/config.json", True),
    ("data", WRITE, "checkpoints/step-1/config.json", False),
    ("data", DELETE, "checkpoints/step-1/config.json", False),
    ("data", WRITE, "data/val.parquet", False),
    ("data", WRITE, "root/golden/g/manifest.json", True),
    ("data", WRITE, "root/captions/c/parts/part-00000.parquet", True),
    ("data", WRITE, "root/runs/step-1/r/scores.json", True),
    ("data", WRITE, "root/index/nightly/index.json", False),
    ("data", DELETE, "root/runs/step-1/r/record.json", False),
    ("data", DELETE, "root/runs/step-1/r/failure.json", True),
    ("data", DELETE, "root/runs/step-1/r/spec.json", False),
    ("data", DELETE, "root/runs/step-1/r/verdict.json", True),  # an INCOMPLETE run that is evaluated again
    ("data", DELETE, "root/runs/step-1/r/preference/parts/part-00000.parquet", True),
    ("data", WRITE, "root/probes/conditional-create", True),
    ("data", DELETE, "root/probes/0123", True),
    ("data", READ, "logs/dag/run.log", False),
    ("control", WRITE, "root/probes/conditional-create", True),
    ("control", DELETE, "root/probes/0123", True),
    ("control", WRITE, "root/runs/step-1/r/timed-out-caption.json", True),
    ("control", DELETE, "root/runs/step-1/r/timed-out-caption.json", True),
    ("control", DELETE, "root/quarantine/0123.json", True),
    ("control", READ, "root/captions/c/manifest.json", True),
    ("control", WRITE, "root/captions/c/manifest.json", False),
    ("control", WRITE, "root/scores/s/manifest.json", False),
    ("control", WRITE, "root/golden/g/manifest.json", False),
    ("control", WRITE, "checkpoints/step-1/config.json", False),
    ("control", WRITE, "root/runs/step-1/r/spec.json", True),
    ("control", WRITE, "root/index/nightly/index.json", True),
    ("control", WRITE, "logs/dag/run.log", True),
    ("control", DELETE, "root/runs/step-1/r/record.json", False),
    ("control", DELETE, "root/index/nightly/s/x.json", True),
    ("reader", READ, "root/runs/step-1/r/report.html", True),
    ("reader", WRITE, "root/runs/step-1/r/report.html", False),
    ("reader", READ, "checkpoints/step-1/model.safetensors", False),
]


def is_allowed_by(policy: dict[str, Any], action: str, key: str) -> bool:
    """Whether a statement allows the action on the object and no statement denies it."""
    resource = f"arn:aws:s3:::assay/{key}"
    effects = {
        statement["Effect"]
        for statement in policy["Statement"]
        if action in statement["Action"]
        and any(fnmatch.fnmatchcase(resource, pattern) for pattern in statement["Resource"])
    }
    return effects == {"Allow"}


def test_there_is_a_policy_for_each_identity() -> None:
    assert set(POLICIES) == {"control", "data", "reader"}
    for policy in POLICIES.values():
        assert {statement["Effect"] for statement in policy["Statement"]} <= {"Allow", "Deny"}
        actions = [action for statement in policy["Statement"] for action in statement["Action"]]
        assert not [action for action in actions if "*" in action]


@pytest.mark.parametrize(("identity", "action", "key", "is_allowed"), PERMISSIONS)
def test_each_identity_may_do_what_the_table_says(identity: str, action: str, key: str, is_allowed: bool) -> None:
    assert is_allowed_by(POLICIES[identity], action, key) is is_allowed
