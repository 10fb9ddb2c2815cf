"""The values for the official charts name the objects of our chart, and README.md installs the charts' right versions.

The official charts come in no package, so whether their keys are spelled right is not tested here.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from charts import HELM, find_manifest, render

README = (HELM / "README.md").read_text()
ROOT = HELM.parent


@pytest.fixture(scope="module")
def airflow() -> dict[str, Any]:
    return dict(yaml.safe_load((HELM / "values-airflow.yaml").read_text()))


@pytest.fixture(scope="module")
def environment(airflow: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry for entry in yaml.safe_load(airflow["extraEnv"])}


def test_airflow_is_the_locked_version(airflow: dict[str, Any]) -> None:
    assert f"apache-airflow=={airflow['airflowVersion']}" in (ROOT / "requirements" / "control.txt").read_text()


def test_the_image_is_built_for_these_folders(airflow: dict[str, Any]) -> None:
    dockerfile = (ROOT / "docker" / "airflow.Dockerfile").read_text()
    core = airflow["config"]["core"]
    assert f"AIRFLOW__CORE__DAGS_FOLDER={core['dags_folder']} " in dockerfile
    assert f"AIRFLOW__CORE__PLUGINS_FOLDER={core['plugins_folder']} " in dockerfile
    pod = airflow["securityContexts"]["pod"]
    assert f"USER {pod['runAsUser']}:{pod['runAsGroup']}" in dockerfile


def test_airflow_reads_what_our_chart_makes(airflow: dict[str, Any]) -> None:
    manifests = render({})
    settings = find_manifest(manifests, "ConfigMap", "-settings")
    sources = yaml.safe_load(airflow["extraEnvFrom"])
    assert {"configMapRef": {"name": settings["metadata"]["name"]}} in sources
    head = find_manifest(manifests, "RayCluster")["spec"]["headGroupSpec"]["template"]["spec"]
    keys = {source["secretRef"]["name"] for source in sources if "secretRef" in source}
    keys_of_ray = {source["secretRef"]["name"] for source in head["containers"][0]["envFrom"] if "secretRef" in source}
    assert (keys, keys_of_ray) == ({"assay-s3-airflow"}, {"assay-s3"})  # two identities: helm/policies
    (volume,), (mount,) = airflow["volumes"], airflow["volumeMounts"]
    assert volume["configMap"]["name"] == find_manifest(manifests, "ConfigMap", "-suites")["metadata"]["name"]
    assert mount["mountPath"] == settings["data"]["ASSAY_SUITES"]


def test_airflow_reaches_ray_with_the_token_that_kuberay_makes(environment: dict[str, Any]) -> None:
    cluster = find_manifest(render({}), "RayCluster")
    assert "secretName" not in cluster["spec"]["authOptions"]
    reference = environment["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"]
    assert reference == {"name": cluster["metadata"]["name"], "key": "auth_token"}
    connection = json.loads(environment["AIRFLOW_CONN_RAY_DEFAULT"]["value"])
    assert connection["host"] == f"{cluster['metadata']['name']}-head-svc"
    assert connection["password"] == "$(RAY_AUTH_TOKEN)"
    # Kubernetes fills in only what stands before.
    assert list(environment).index("RAY_AUTH_TOKEN") < list(environment).index("AIRFLOW_CONN_RAY_DEFAULT")


def test_tasks_log_in_as_a_user_whose_password_the_readme_makes(
    airflow: dict[str, Any], environment: dict[str, Any]
) -> None:
    connection = json.loads(environment["AIRFLOW_CONN_AIRFLOW_API"]["value"])
    assert connection["password"] == "$(ASSAY_API_PASSWORD)"
    assert list(environment).index("ASSAY_API_PASSWORD") < list(environment).index("AIRFLOW_CONN_AIRFLOW_API")
    users = dict(user.split(":") for user in airflow["config"]["core"]["simple_auth_manager_users"].split(","))
    assert users == {"admin": "admin", "op": "op", "viewer": "viewer", connection["login"]: "user"}
    reference = environment["ASSAY_API_PASSWORD"]["valueFrom"]["secretKeyRef"]
    assert reference == {"name": "assay-airflow-passwords", "key": "assay"}
    assert f"--from-literal={reference['key']}=" in README


def test_people_reach_the_dashboard_at_an_address_outside_the_cluster(environment: dict[str, Any]) -> None:
    connection = json.loads(environment["AIRFLOW_CONN_RAY_DEFAULT"]["value"])
    assert connection["extra"]["dashboard_url"] == "http://127.0.0.1:8265"


def test_airflow_may_reach_the_dashboard(airflow: dict[str, Any]) -> None:
    (rule,) = find_manifest(render({}), "NetworkPolicy", "-dashboard")["spec"]["ingress"]
    (peer,) = rule["from"]
    # `tier: airflow` is what the official chart labels its pods with.
    assert peer == {"podSelector": {"matchLabels": {"tier": "airflow"}}}
    assert airflow["apiServer"]["networkPolicy"]["ingress"]["from"] == [peer]


def test_the_migration_job_creates_the_pools_of_the_dags_and_counts_deferred_tasks(airflow: dict[str, Any]) -> None:
    *shell, script = airflow["migrateDatabaseJob"]["args"]
    assert shell == ["bash", "-ec"]  # -e: a failed migration must fail the job
    migrate, *pools = script.splitlines()
    assert migrate == "airflow db migrate"
    pool_names = [re.sub(r"^airflow pools set (\w+) \d+ \"[^\"]+\" --include-deferred$", r"\1", line) for line in pools]
    dag_pools = [re.findall(r'pool="(\w+)"', path.read_text()) for path in (ROOT / "dags").glob("*.py")]
    assert set(pool_names) == {name for names in dag_pools for name in names}


def test_the_readme_creates_every_secret_that_the_values_name(airflow: dict[str, Any]) -> None:
    secrets = {
        airflow["data"]["metadataSecretName"],
        airflow["fernetKeySecretName"],
        airflow["apiSecretKeySecretName"],
        airflow["jwtSecretName"],
        *(source["secretRef"]["name"] for source in yaml.safe_load(airflow["extraEnvFrom"]) if "secretRef" in source),
        *(volume["secret"]["secretName"] for volume in airflow["apiServer"]["extraVolumes"] if "secret" in volume),
    }
    optional = set(re.findall(r"existingSecret: (\S+)\n", README))
    ray = {yaml.safe_load((HELM / "assay" / "values.yaml").read_text())["s3"]["existingSecret"]}
    assert secrets | optional | ray == set(re.findall(r"create secret generic (\S+)", README))


def test_airflow_may_not_start_pods(airflow: dict[str, Any]) -> None:
    assert airflow["allowPodLaunching"] is False
    assert airflow["apiServer"]["allowPodLogReading"] is False


@pytest.mark.parametrize("file", ["values-airflow.yaml", "values-kuberay.yaml"])
def test_the_readme_installs_the_version_the_values_are_for(file: str) -> None:
    (version,) = re.findall(r"version (\d+\.\d+\.\d+)", (HELM / file).read_text())
    (command,) = re.findall(rf"^helm upgrade .*--version (\S+) .*-f helm/{file}", README, re.MULTILINE)
    assert command == version


def test_the_readme_names_files_that_exist() -> None:
    for page in [HELM / "README.md", HELM / "assay" / "README.md"]:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert (Path(page).parent / link).exists(), f"{page}: {link}"
