"""The RayCluster's own fields. KubeRay's schema comes in no package, so the fields of ray.io/v1 we use are listed here.

Written from the reference of KubeRay 1.7: a field that is not in these lists is a typo, or needs a look there.
"""

from collections.abc import Mapping
from typing import Any

import pytest
from charts import HELM, VALUES, find_manifest, pod_templates, render

SPEC = {
    "rayVersion": str,
    "authOptions": dict,
    "tlsOptions": dict,
    "enableInTreeAutoscaling": bool,
    "autoscalerOptions": dict,
    "headGroupSpec": dict,
    "workerGroupSpecs": list,
}
HEAD = {"serviceType": str, "rayStartParams": dict, "template": dict}
WORKERS = {
    "groupName": str,
    "replicas": int,
    "minReplicas": int,
    "maxReplicas": int,
    "rayStartParams": dict,
    "template": dict,
}
AUTH = {"mode": str, "secretName": str}
AUTOSCALER = {"idleTimeoutSeconds": int, "securityContext": dict, "resources": dict, "volumeMounts": list}


@pytest.fixture(params=VALUES, ids=str)
def spec(request: pytest.FixtureRequest) -> dict[str, Any]:
    cluster = find_manifest(render(VALUES[request.param]), "RayCluster")
    assert cluster["apiVersion"] == "ray.io/v1"
    return dict(cluster["spec"])


def test_the_cluster_has_only_fields_of_kuberay(spec: dict[str, Any]) -> None:
    check_fields(spec, SPEC, optional={"autoscalerOptions", "tlsOptions"})
    check_fields(spec["headGroupSpec"], HEAD)
    check_fields(spec["authOptions"], AUTH, optional={"secretName"})
    if spec["enableInTreeAutoscaling"]:
        check_fields(spec["autoscalerOptions"], AUTOSCALER)
    for group in spec["workerGroupSpecs"]:
        check_fields(group, WORKERS)
    for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]:
        # A bare 0 would be refused on the cluster, not here.
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())


def test_ray_asks_for_a_token(spec: dict[str, Any]) -> None:
    assert spec["authOptions"]["mode"] == "token"


def test_only_the_autoscalers_container_gets_a_token_of_kubernetes(spec: dict[str, Any]) -> None:
    """The head's other container runs the jobs' drivers, and in them the code of users' metrics."""
    templates = [spec["headGroupSpec"]["template"], *(group["template"] for group in spec["workerGroupSpecs"])]
    for template in templates:
        assert template["spec"]["automountServiceAccountToken"] is False
        mounts = [mount for container in template["spec"]["containers"] for mount in container["volumeMounts"]]
        assert not [
            mount for mount in mounts if "kubernetes" in mount["name"] or "serviceaccount" in mount["mountPath"]
        ]
    volumes = {volume["name"] for volume in spec["headGroupSpec"]["template"]["spec"]["volumes"]}
    assert ("kubernetes-token" in volumes) == spec["enableInTreeAutoscaling"]
    if spec["enableInTreeAutoscaling"]:
        places = {mount["name"]: mount["mountPath"] for mount in spec["autoscalerOptions"]["volumeMounts"]}
        assert places["kubernetes-token"] == "/var/run/secrets/kubernetes.io/serviceaccount"
        assert set(places) <= volumes


def test_every_path_that_is_written_to_is_a_volume_with_a_size_limit(spec: dict[str, Any]) -> None:
    """The image is read-only, so each path that Ray, vLLM or we write to is a volume; each has a size limit."""
    templates = [spec["headGroupSpec"]["template"], *(group["template"] for group in spec["workerGroupSpecs"])]
    for template in templates:
        (container,) = template["spec"]["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert {"/tmp", "/home/assay", "/dev/shm"} <= {mount["mountPath"] for mount in container["volumeMounts"]}
        for volume in template["spec"]["volumes"]:
            assert "emptyDir" not in volume or volume["emptyDir"]["sizeLimit"], volume["name"]
        resources = container["resources"]
        request, limit = (
            int(resources[kind]["ephemeral-storage"].removesuffix("Gi")) for kind in ("requests", "limits")
        )
        assert 0 < request < limit


def test_the_cache_of_checkpoints_is_not_on_the_shared_claim(spec: dict[str, Any]) -> None:
    """Several pods may share the claim on the home's cache, so another pod could change a copy there."""
    for group in spec["workerGroupSpecs"]:
        (container,) = group["template"]["spec"]["containers"]
        (cache,) = [variable["value"] for variable in container["env"] if variable["name"] == "ASSAY_CACHE"]
        shared = [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "compiled"]
        assert cache.startswith("/tmp/")
        assert not any(cache.startswith(path) for path in shared)


def test_the_head_runs_no_tasks(spec: dict[str, Any]) -> None:
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_groups_can_start_workers(spec: dict[str, Any]) -> None:
    for group in spec["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        # Without the autoscaler a group at zero would stay at zero, and jobs would wait forever.
        assert spec["enableInTreeAutoscaling"] or group["replicas"] == group["maxReplicas"]


def test_only_gpu_workers_ask_for_gpus(spec: dict[str, Any]) -> None:
    for group in spec["workerGroupSpecs"]:
        (container,) = group["template"]["spec"]["containers"]
        assert ("nvidia.com/gpu" in container["resources"]["limits"]) == (group["groupName"] == "gpu")


def test_head_and_workers_run_one_image() -> None:
    for values in VALUES.values():
        templates = pod_templates(find_manifest(render(values), "RayCluster")).values()
        assert len({template["spec"]["containers"][0]["image"] for template in templates}) == 1


def test_the_ray_version_is_the_one_that_is_locked(spec: dict[str, Any]) -> None:
    lock = (HELM.parent / "requirements" / "data-cpu.txt").read_text()
    assert f"\nray=={spec['rayVersion']} \\\n" in lock


def test_without_gpus_there_is_no_gpu_group() -> None:
    assert set(pod_templates(find_manifest(render(VALUES["cpu"]), "RayCluster"))) == {"head", "cpu"}


def test_vllm_compiles_into_the_claim_that_the_values_name() -> None:
    for name, groups_with_claim in (("defaults", set()), ("onprem", {"gpu"})):
        templates = pod_templates(find_manifest(render(VALUES[name]), "RayCluster"))
        for group, template in templates.items():
            claims = [volume for volume in template["spec"]["volumes"] if "persistentVolumeClaim" in volume]
            assert bool(claims) == (group in groups_with_claim)
            assert template["spec"]["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
            if claims:
                assert claims == [{"name": "compiled", "persistentVolumeClaim": {"claimName": "vllm-compiled"}}]
                mounts = template["spec"]["containers"][0]["volumeMounts"]
                assert {"name": "compiled", "mountPath": "/home/assay/.cache"} in mounts


def test_settings_and_keys_reach_every_pod() -> None:
    manifests = render(VALUES["onprem"])
    for template in pod_templates(find_manifest(manifests, "RayCluster")).values():
        sources = template["spec"]["containers"][0]["envFrom"]
        assert sources == [
            {"configMapRef": {"name": "assay-settings"}},
            {"secretRef": {"name": "s3-keys"}},
            {"secretRef": {"name": "judge-key"}},
        ]
        assert find_manifest(manifests, "ConfigMap", "-settings")["metadata"]["name"] == "assay-settings"


def test_with_a_role_no_secret_is_needed() -> None:
    for template in pod_templates(find_manifest(render(VALUES["role"]), "RayCluster")).values():
        assert all("secretRef" not in source for source in template["spec"]["containers"][0]["envFrom"])


def check_fields(
    value: dict[str, Any], fields: Mapping[str, type], optional: frozenset[str] | set[str] = frozenset()
) -> None:
    assert set(value) - set(fields) == set()
    assert set(fields) - set(value) - optional == set()
    assert {name: type(value[name]) for name in value} == {name: fields[name] for name in value}
