"""The schema of the values refuses a typo with its path, and the values reach the manifests."""

import re
from typing import Any

import helm_python
import pytest
import yaml
from charts import CHART, VALUES, find_manifest, render

from ray_jobs.contract.parse_suite import parse_suite

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a typo at the top": ({"setings": {}}, "'setings' not allowed"),
    "a typo below": ({"settings": {"checkpoint": "s3://a/b"}}, "'checkpoint' not allowed"),
    "a typo in a group": ({"ray": {"gpuWorkers": {"gpu": 2}}}, "'gpu' not allowed"),
    "a typo in a suite": ({"suites": {"nightly": {"promt": {}}}}, "'promt' not allowed"),
    "a local root": ({"settings": {"root": "/data/root"}}, "/settings/root"),
    "a root with a slash at its end": ({"settings": {"root": "s3://assay/"}}, "/settings/root"),
    "a schedule with four fields": ({"settings": {"nightlyCron": "0 2 * *"}}, "/settings/nightlyCron"),
    "another schedule in words": ({"settings": {"auditCron": "every morning"}}, "/settings/auditCron"),
    "an endpoint with a path": ({"s3": {"endpoint": "http://s3/assay"}}, "/s3/endpoint"),
    "a moving tag": ({"image": {"tag": "latest"}}, "/image/tag"),
    "a number of GPUs in words": ({"ray": {"gpuWorkers": {"gpus": "two"}}}, "/ray/gpuWorkers/gpus"),
    "no GPU": ({"ray": {"gpuWorkers": {"gpus": 0}}}, "/ray/gpuWorkers/gpus"),
    "resources without limits": ({"ray": {"head": {"resources": {"limits": None}}}}, "/ray/head/resources"),
    "Airflow is everybody": ({"networkPolicy": {"airflow": {"podSelector": {"matchLabels": None}}}}, "podSelector"),
    "a suite that is not there": ({"settings": {"routerSuite": "nightli"}}, 'no suite "nightli"; suites has: nightly'),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_value_is_refused_with_its_path(case: str) -> None:
    values, message = REFUSED[case]
    with pytest.raises(helm_python.HelmError, match=re.escape(message)):
        render(values)


def test_every_default_is_in_the_schema_and_nothing_else() -> None:
    """The schema and values.yaml have the same keys."""
    with helm_python.Chart.load(CHART) as chart:
        schema = chart.schema
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    assert list_differences(schema, defaults) == []


@pytest.mark.parametrize("name", VALUES)
def test_every_suite_of_the_config_map_is_read(name: str) -> None:
    data = find_manifest(render(VALUES[name]), "ConfigMap", "-suites")["data"]
    assert data
    for file, text in data.items():
        if file.endswith(".py"):
            continue
        assert parse_suite(text, file).name == file.removesuffix(".yaml")


def test_a_suite_set_to_null_is_gone() -> None:
    assert set(find_manifest(render(VALUES["onprem"]), "ConfigMap", "-suites")["data"]) == {
        "judged.yaml",
        "politeness.py",
    }


def test_a_custom_metric_is_in_the_config_map_of_its_suite() -> None:
    data = find_manifest(render(VALUES["onprem"]), "ConfigMap", "-suites")["data"]
    assert parse_suite(data["judged.yaml"], "judged.yaml").metrics.own == ("politeness.py",)
    assert data["politeness.py"] == VALUES["onprem"]["ownMetrics"]["politeness.py"]
    metric: dict[str, Any] = {}
    exec(data["politeness.py"], metric)
    assert metric["METRIC"].measure(metric["CaptionContext"]("please look", 2, "stop")) == 1.0
    with pytest.raises(helm_python.HelmError, match="does not match pattern"):
        render({"ownMetrics": {"../escape.py": "x"}})


def test_the_settings_of_the_values_reach_the_config_map() -> None:
    data = find_manifest(render(VALUES["onprem"]), "ConfigMap", "-settings")["data"]
    assert data["AWS_ENDPOINT_URL"] == "http://s3.storage.svc:8333"
    assert data["ASSAY_ROUTER_SUITE"] == "judged"
    assert "AWS_ENDPOINT_URL" not in find_manifest(render({}), "ConfigMap", "-settings")["data"]


def test_only_airflow_may_reach_the_dashboard() -> None:
    rules = find_manifest(render(VALUES["onprem"]), "NetworkPolicy", "-dashboard")["spec"]
    assert rules["podSelector"]["matchLabels"] == {"ray.io/cluster": "assay", "ray.io/node-type": "head"}
    assert rules["ingress"] == [
        {
            "from": [
                {
                    "podSelector": {"matchLabels": {"tier": "airflow"}},
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "airflow"}},
                }
            ],
            "ports": [{"protocol": "TCP", "port": 8265}],
        }
    ]
    assert not [m for m in render(VALUES["role"]) if m["kind"] == "NetworkPolicy"]


def egress_rules(name: str, suffix: str = "-egress") -> list[dict[str, Any]]:
    return list(find_manifest(render(VALUES[name]), "NetworkPolicy", suffix)["spec"]["egress"])


def test_ray_reaches_itself_dns_and_the_store_and_nothing_else() -> None:
    itself, dns, store = egress_rules("defaults")
    assert itself == {"to": [{"podSelector": {"matchLabels": {"ray.io/cluster": "assay"}}}]}
    assert {(port["protocol"], port["port"]) for port in dns["ports"]} == {("UDP", 53), ("TCP", 53)}
    assert store["ports"] == [{"protocol": "TCP", "port": 443}]
    private = {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8", "100.64.0.0/10"}
    assert set(store["to"][0]["ipBlock"]["except"]) == private
    _, _, store, judge = egress_rules("onprem")
    assert store["ports"] == [{"protocol": "TCP", "port": 8333}]
    assert all("ipBlock" not in peer for peer in store["to"])
    assert judge["ports"] == [{"protocol": "TCP", "port": 8000}]


def test_only_the_head_reaches_kubernetes_and_not_the_clouds_metadata() -> None:
    policy = find_manifest(render({}), "NetworkPolicy", "-autoscaler")["spec"]
    assert policy["podSelector"]["matchLabels"]["ray.io/node-type"] == "head"
    assert policy["egress"][0]["to"] == [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}}]
    without = [m["metadata"]["name"] for m in render(VALUES["cpu"]) if m["kind"] == "NetworkPolicy"]
    assert "assay-autoscaler" not in without


def test_a_store_inside_the_cluster_must_be_named() -> None:
    with pytest.raises(helm_python.HelmError, match=r"networkPolicy\.egress\.store: s3\.endpoint is http"):
        render({"s3": {"endpoint": "http://s3:8333"}})
    render({"s3": {"endpoint": "http://s3:8333"}, "networkPolicy": {"egress": {"enabled": False}}})


def test_a_role_for_s3_reaches_the_service_account_that_the_pods_use() -> None:
    manifests = render(VALUES["role"])
    account = find_manifest(manifests, "ServiceAccount")["metadata"]
    assert account["annotations"]["eks.amazonaws.com/role-arn"].endswith(":role/assay")
    head = find_manifest(manifests, "RayCluster")["spec"]["headGroupSpec"]["template"]["spec"]
    assert head["serviceAccountName"] == account["name"]


def list_differences(schema: dict[str, Any], defaults: Any, path: str = "") -> list[str]:
    """Paths of the keys that only one of schema and defaults has; free-form objects are skipped."""
    if not isinstance(defaults, dict) or "properties" not in schema or path.startswith("/suites/"):
        return []
    shared_keys = set(schema["properties"]) - {"global"}
    own_differences = [f"{path}/{key}" for key in sorted(shared_keys ^ set(defaults))]
    return own_differences + [
        difference
        for key in sorted(shared_keys & set(defaults))
        for difference in list_differences(schema["properties"][key], defaults[key], f"{path}/{key}")
    ]


@pytest.mark.parametrize(
    ("values", "gpu"),
    [
        ({}, ("1", "1", "1")),
        ({"ray": {"gpuWorkers": {"gpus": 8, "minReplicas": 0, "maxReplicas": 3}}}, ("1", "8", "24")),
        ({"ray": {"autoscaling": {"enabled": False}}}, ("1", "1", "1")),
        (VALUES["cpu"], ("0", "0", "0")),
    ],
)
def test_jobs_get_the_number_of_gpus_that_the_cluster_may_have(values: dict[str, Any], gpu: tuple[str, ...]) -> None:
    """GPU pods start at zero, so the pods that run when a job starts do not show how many there may be."""
    data = find_manifest(render(values), "ConfigMap", "-settings")["data"]
    assert (data["ASSAY_GPU"], data["ASSAY_GPUS_PER_NODE"], data["ASSAY_MAX_GPUS"]) == gpu
