"""The compose stack as Docker Compose itself resolves it, which needs no Docker engine."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tools import DOCKER, tool

AIRFLOW = ["airflow-init", "airflow-api-server", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer"]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of docker/ with an .env by make_env.py, so that a developer's own .env is not read."""
    folder = tmp_path_factory.mktemp("checkout") / "docker"
    shutil.copytree(DOCKER, folder, ignore=shutil.ignore_patterns(".env"))
    subprocess.run([tool("python"), folder / "make_env.py"], check=True, capture_output=True)
    return folder


def resolve_config(folder: Path, *files: str) -> subprocess.CompletedProcess[str]:
    arguments = [part for file in files for part in ("--file", str(folder / file))]
    # Only what Compose needs: a variable of this shell would win over the .env file.
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    return subprocess.run(
        [tool("docker-compose"), *arguments, "config", "--format", "json"],
        capture_output=True,
        text=True,
        env=environment,
    )


@pytest.fixture(scope="module", params=[("compose.yaml",), ("compose.yaml", "compose.gpu.yaml")], ids=["cpu", "gpu"])
def services(request: pytest.FixtureRequest, stack: Path) -> dict[str, Any]:
    process = resolve_config(stack, *request.param)
    assert process.returncode == 0, process.stderr
    assert "variable is not set" not in process.stderr
    return dict(json.loads(process.stdout)["services"])


def test_the_stack_has_every_service(services: dict[str, Any]) -> None:
    assert sorted(services) == sorted(["postgres", "s3", "ray-head", "ray-worker", *AIRFLOW])


def test_ports_are_bound_to_this_machine_only(services: dict[str, Any]) -> None:
    ports = [(name, port) for name, service in services.items() for port in service.get("ports", [])]
    assert {name for name, _ in ports} == {"s3", "airflow-api-server", "ray-head"}
    assert all(port["host_ip"] == "127.0.0.1" for _, port in ports)


def test_every_lasting_service_has_a_health_check(services: dict[str, Any]) -> None:
    for name, service in services.items():
        if name == "airflow-init":
            assert service["restart"] == "no"
            continue
        assert service["restart"] == "unless-stopped", name
        # The worker's check is its image's: the raylet's own agent.
        assert name == "ray-worker" or service["healthcheck"]["test"], name


def test_services_start_after_the_services_that_they_need(services: dict[str, Any]) -> None:
    waits = {
        name: {other: rule["condition"] for other, rule in service.get("depends_on", {}).items()}
        for name, service in services.items()
    }
    assert waits["airflow-init"] == {"postgres": "service_healthy"}
    for name in AIRFLOW[1:]:
        assert waits[name]["airflow-init"] == "service_completed_successfully"
    assert waits["airflow-scheduler"].items() >= {"s3": "service_healthy", "ray-head": "service_healthy"}.items()
    assert waits["ray-worker"] == {"ray-head": "service_healthy"}


def test_airflow_holds_the_token_that_ray_asks_for(services: dict[str, Any]) -> None:
    ray = services["ray-head"]["environment"]
    assert ray["RAY_AUTH_MODE"] == "token"
    assert len(ray["RAY_AUTH_TOKEN"]) == 64
    assert services["ray-worker"]["environment"]["RAY_AUTH_TOKEN"] == ray["RAY_AUTH_TOKEN"]
    for name in AIRFLOW:
        connection = json.loads(services[name]["environment"]["AIRFLOW_CONN_RAY_DEFAULT"])
        assert connection["conn_type"] == "ray"
        assert connection["password"] == ray["RAY_AUTH_TOKEN"]
        assert connection["host"] in services


def test_tasks_log_in_as_one_of_the_users_that_airflow_init_gives_a_password(services: dict[str, Any]) -> None:
    init = services["airflow-init"]["environment"]
    users = dict(user.split(":") for user in init["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"].split(","))
    assert users == {"admin": "admin", "op": "op", "viewer": "viewer", "assay": "user"}
    passwords = {user: init[f"AIRFLOW_{user.upper()}_PASSWORD"] for user in users}
    assert len(set(passwords.values())) == len(users)
    for name in AIRFLOW:
        connection = json.loads(services[name]["environment"]["AIRFLOW_CONN_AIRFLOW_API"])
        assert connection["host"] in services
        assert connection["password"] == passwords[connection["login"]]


def test_both_planes_use_the_same_storage(services: dict[str, Any]) -> None:
    names = ["ASSAY_ROOT", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"]
    storages = {
        tuple(services[name]["environment"][variable] for variable in names)
        for name in [*AIRFLOW, "ray-head", "ray-worker"]
    }
    assert len(storages) == 1
    root, endpoint, key, secret, _ = storages.pop()
    assert root.startswith("s3://assay/")
    assert endpoint == "http://s3:8333"
    assert "-bucket=assay" in services["s3"]["command"]
    store = services["s3"]["environment"]
    assert (store["AWS_ACCESS_KEY_ID"], store["AWS_SECRET_ACCESS_KEY"]) == (key, secret)


def test_airflow_init_creates_the_pools_of_the_dags_and_counts_deferred_tasks(services: dict[str, Any]) -> None:
    script = services["airflow-init"]["command"][-1]
    pools = re.findall(r"^airflow pools set (\S+) .* --include-deferred$", script, re.MULTILINE)
    assert sorted(pools) == list_dag_pools()


def test_images_are_pinned(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert re.search(r":[0-9]+[.0-9]*[0-9a-z.-]*$", service["image"]), f"{name}: {service['image']}"


def test_every_service_has_few_rights_and_a_memory_limit(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert int(service["mem_limit"]) > 0, name
        assert not service.get("privileged"), name
    assert {name for name, service in services.items() if service.get("cap_add")} == {"postgres"}


def test_an_image_may_be_named_by_its_digest(stack: Path, tmp_path: Path) -> None:
    digest = f"postgres:17.6-bookworm@sha256:{'0' * 64}"
    copy = tmp_path / "docker"
    shutil.copytree(stack, copy)
    text = (copy / ".env").read_text()
    (copy / ".env").write_text(re.sub(r"^POSTGRES_IMAGE=.*$", f"POSTGRES_IMAGE={digest}", text, flags=re.MULTILINE))
    assert json.loads(resolve_config(copy, "compose.yaml").stdout)["services"]["postgres"]["image"] == digest


def test_every_mounted_file_is_in_the_repository() -> None:
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    mounts = [str(volume) for service in services.values() for volume in service.get("volumes", [])]
    folders = {mount.split(":")[0] for mount in mounts if mount.startswith(".")}
    assert folders == {"../demo"}
    assert all((DOCKER / path).is_dir() for path in folders)


def test_with_a_gpu_head_and_worker_run_one_image(stack: Path) -> None:
    services = json.loads(resolve_config(stack, "compose.yaml", "compose.gpu.yaml").stdout)["services"]
    assert services["ray-head"]["image"] == services["ray-worker"]["image"] == "assay/ray:0.1.0-gpu"
    assert services["ray-worker"]["build"]["target"] == services["ray-head"]["build"]["target"] == "gpu"
    device = services["ray-worker"]["deploy"]["resources"]["reservations"]["devices"][0]
    assert device["driver"] == "nvidia"
    assert device["capabilities"] == ["gpu"]


def test_without_secrets_nothing_starts_and_the_remedy_is_named(tmp_path: Path) -> None:
    shutil.copy(DOCKER / "compose.yaml", tmp_path)
    process = resolve_config(tmp_path, "compose.yaml")
    assert process.returncode != 0
    assert "run python docker/make_env.py first" in process.stderr


def test_the_example_holds_no_secret_and_make_env_fills_each(stack: Path) -> None:
    example, env_file = read_variables(stack / ".env.example"), read_variables(stack / ".env")
    required = set(re.findall(r"\$\{([A-Z_]+):\?", (stack / "compose.yaml").read_text()))
    assert required
    assert {name: example[name] for name in required} == dict.fromkeys(required, "")
    assert all(env_file[name] for name in required)
    assert len({env_file[name] for name in required}) == len(required)
    assert {name: value for name, value in env_file.items() if name not in required} == {
        name: value for name, value in example.items() if name not in required
    }
    assert (stack / ".env").stat().st_mode & 0o077 == 0


def test_a_shell_reads_the_env_file_as_compose_does(stack: Path, services: dict[str, Any]) -> None:
    """README.md sources it."""
    print_cron = f'set -aeu; . {stack / ".env"}; printf %s "$ASSAY_NIGHTLY_CRON"'
    process = subprocess.run(["bash", "-c", print_cron], capture_output=True, text=True)
    assert (process.stdout, process.stderr) == ("0 2 * * *", "")
    assert services["airflow-scheduler"]["environment"]["ASSAY_NIGHTLY_CRON"] == "0 2 * * *"


def test_make_env_does_not_overwrite_an_env_file(stack: Path) -> None:
    before = (stack / ".env").read_text()
    second_run = subprocess.run([tool("python"), stack / "make_env.py"], capture_output=True, text=True)
    assert second_run.returncode == 1
    assert "kept as it is" in second_run.stderr
    assert (stack / ".env").read_text() == before


def list_dag_pools() -> list[str]:
    texts = [path.read_text() for path in (DOCKER.parent / "dags").glob("*.py")]
    return sorted({name for text in texts for name in re.findall(r'pool="(\w+)"', text)})


def read_variables(file: Path) -> dict[str, str]:
    return dict(re.findall(r"^([A-Z0-9_]+)=(.*)$", file.read_text(), re.MULTILINE))


def test_jobs_ask_for_a_gpu_where_the_stack_has_one(stack: Path) -> None:
    for files, gpu in ((("compose.yaml",), "0"), (("compose.yaml", "compose.gpu.yaml"), "1")):
        services = json.loads(resolve_config(stack, *files).stdout)["services"]
        assert {services[name]["environment"]["ASSAY_GPU"] for name in ("ray-head", "ray-worker")} == {gpu}
    assert services["ray-head"]["environment"]["ASSAY_MAX_GPUS"] == "0"  # the drivers run here; no node starts later
