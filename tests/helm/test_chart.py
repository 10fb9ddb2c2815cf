"""The chart passes lint and fits Kubernetes' schemas, with the defaults and with every example in ci/."""

import re
from typing import Any

import helm_python
import kubernetes_validate
import pytest
from charts import CHART, VALUES, find_manifest, pod_templates, render

# The oldest Kubernetes that Chart.yaml admits, and the newest whose schemas we have.
KUBERNETES = ["1.29.0", kubernetes_validate.latest_version()]


@pytest.fixture(params=VALUES, ids=str)
def manifests(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return render(VALUES[request.param])


def test_there_are_examples() -> None:
    assert set(VALUES) == {"defaults", "cpu", "onprem", "role"}


def test_lint_only_recommends_an_icon() -> None:
    result = helm_python.lint(CHART)
    assert result["errors"] == []
    assert [message["error"] for message in result["messages"]] == ["icon is recommended"]


def test_the_oldest_kubernetes_checked_is_the_oldest_admitted() -> None:
    with helm_python.Chart.load(CHART) as chart:
        assert chart.metadata["kubeVersion"] == f">={KUBERNETES[0]}-0"


@pytest.mark.parametrize("version", KUBERNETES)
def test_every_standard_resource_fits_its_schema(manifests: list[dict[str, Any]], version: str) -> None:
    standard = [manifest for manifest in manifests if manifest["kind"] != "RayCluster"]
    assert {manifest["kind"] for manifest in standard} >= {"ConfigMap", "ServiceAccount"}
    for manifest in standard:
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("version", KUBERNETES)
def test_every_pod_template_fits_the_pod_schema(manifests: list[dict[str, Any]], version: str) -> None:
    for name, template in pod_templates(find_manifest(manifests, "RayCluster")).items():
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **template["metadata"]}}
        kubernetes_validate.validate({**pod, "spec": template["spec"]}, version, strict=True)


def test_every_container_runs_as_somebody_without_privileges(manifests: list[dict[str, Any]]) -> None:
    cluster = find_manifest(manifests, "RayCluster")
    contexts = []
    for template in pod_templates(cluster).values():
        pod = template["spec"]["securityContext"]
        assert pod["runAsNonRoot"] is True
        assert pod["runAsUser"] == 1000  # the USER of docker/ray.Dockerfile
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
        contexts += [container["securityContext"] for container in template["spec"]["containers"]]
    if cluster["spec"]["enableInTreeAutoscaling"]:
        contexts.append(cluster["spec"]["autoscalerOptions"]["securityContext"])  # KubeRay adds that container
    for context in contexts:
        assert context == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_no_manifest_carries_a_secret(manifests: list[dict[str, Any]]) -> None:
    assert "Secret" not in {manifest["kind"] for manifest in manifests}
    for path, key, value in list_leaves(manifests):
        if re.search(r"(?i)(password|secret|token|access_key)", key):
            # References by name, and whether a pod may have its service account's token.
            assert (
                key in ("secretName", "automountServiceAccountToken")
                or "/kubernetes-token" in path
                or ("serviceAccountToken" in path or value == "kubernetes-token")
            ), f"{path}: {value}"


def test_everything_is_labelled_and_named_after_the_release(manifests: list[dict[str, Any]]) -> None:
    for manifest in manifests:
        assert manifest["metadata"]["name"].startswith("assay")
        assert manifest["metadata"]["labels"]["app.kubernetes.io/instance"] == "assay"


def test_the_longest_release_name_still_gives_names_that_kubernetes_takes() -> None:
    for manifest in render({}, release="a" * 53):
        # KubeRay appends a group, a kind and a random part to the cluster's.
        assert len(manifest["metadata"]["name"]) <= (40 if manifest["kind"] == "RayCluster" else 63)


def list_leaves(value: Any, path: str = "", key: str = "") -> list[tuple[str, str, Any]]:
    """Every scalar, with its path and the last key of the path."""
    if isinstance(value, dict):
        return [leaf for name, inner in value.items() for leaf in list_leaves(inner, f"{path}/{name}", str(name))]
    if isinstance(value, list):
        return [leaf for index, inner in enumerate(value) for leaf in list_leaves(inner, f"{path}/{index}", key)]
    return [(path, key, value)]
