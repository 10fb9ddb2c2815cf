"""Our RayCluster against KubeRay's own schema, if a copy of the schema is here.

`KUBERAY_CRD` names the file of the CustomResourceDefinition; it is Apache-2.0 but not ours to ship.
"""

import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from charts import HELM, VALUES, find_manifest, render

BESIDE = HELM.parents[1] / "shared" / "data" / "kuberay-1.7.0-rayclusters-crd.yaml"
CRD = Path(os.environ.get("KUBERAY_CRD", BESIDE))
pytestmark = pytest.mark.skipif(not CRD.is_file(), reason="no schema of KubeRay's at KUBERAY_CRD")


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    versions = yaml.safe_load(CRD.read_text())["spec"]["versions"]
    (schema_of_v1,) = [version["schema"]["openAPIV3Schema"] for version in versions if version["name"] == "v1"]
    return dict(refuse_unknown_fields(schema_of_v1))


def refuse_unknown_fields(schema: Any) -> Any:
    """The schema, made to refuse unknown fields as the API server does, but not Kubernetes' own kinds of values."""
    if isinstance(schema, list):
        return [refuse_unknown_fields(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    strict_schema = {key: refuse_unknown_fields(value) for key, value in schema.items()}
    if "properties" in schema and "additionalProperties" not in schema and isinstance(schema["properties"], dict):
        keeps = schema.get("x-kubernetes-preserve-unknown-fields", False)
        strict_schema["additionalProperties"] = keeps or not schema["properties"]
    return strict_schema


def list_faults(schema: dict[str, Any], cluster: dict[str, Any]) -> list[str]:
    body = {key: value for key, value in cluster.items() if key != "metadata"} | {"metadata": {}}
    return [f"{error.json_path}: {error.message}" for error in jsonschema.Draft7Validator(schema).iter_errors(body)]


@pytest.mark.parametrize("name", VALUES)
def test_kuberay_takes_our_cluster(schema: dict[str, Any], name: str) -> None:
    assert list_faults(schema, find_manifest(render(VALUES[name]), "RayCluster")) == []


def test_a_misspelt_field_is_one_fault(schema: dict[str, Any]) -> None:
    cluster = find_manifest(render({}), "RayCluster")
    cluster["spec"]["autoscalerOptions"]["volumeMount"] = []
    assert len(list_faults(schema, cluster)) == 1
