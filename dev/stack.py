"""Runs Airflow and Ray on this machine, like a small deployment. Every process listens on 127.0.0.1 only.

    python -m dev.stack up | down | status
    python -m dev.stack trigger  CHECKPOINT SUITE [--wait] [--force] [--baseline B]    on the running stack
    python -m dev.stack validate CHECKPOINT SUITE [--force] [--baseline B]             in this process, no scheduler

Run with the control environment's Python in the repository; `make` does.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx

from dev import ports, processes
from dev.airflow_api import DAG, AirflowAPI
from dev.processes import AIRFLOW, PROGRAMS, StackError
from dev.settings import REPO, Settings, environment, secrets_of
from ray_jobs.inputs.errors import InputError
from ray_jobs.job import submission_probe
from ray_jobs.storage import uris

HEALTHY_WITHIN_S = 300
SAY_AFTER_S, SAY_EVERY_S = 10, 60  # when a wait prints what it still lacks
RAY_ANSWERS_WITHIN_S = 20  # Ray itself looks for its agent for 10 s
QUIET = {  # a run in this process prints the tasks' log lines, and only warnings of Airflow
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
    "AIRFLOW__LOGGING__NAMESPACE_LEVELS": "assay_airflow=INFO airflow.task.operators.assay_airflow=INFO",
}


def up(settings: Settings) -> None:
    """Start the processes that do not run, and return when all are healthy."""
    processes.start(settings, "ray")
    if not processes.states(settings)["api-server"].startswith("RUNNING"):
        _migrate(environment(settings))
    processes.start(settings, *AIRFLOW)
    api = AirflowAPI(settings)
    _await("Airflow", lambda: ", ".join(api.list_unhealthy()), settings, PROGRAMS)
    _await("Ray", lambda: _find_ray_fault(settings), settings, PROGRAMS)
    api.login()
    api.set_pool("gpu", settings.gpu_slots, "Ray jobs that need the GPU, one a slot")
    api.set_pool("router", settings.router_slots, "Validations the router keeps under way; 1 keeps their order")
    _await("the DAGs", lambda: _list_missing_dags(api), settings, PROGRAMS)
    print(f"Airflow        {settings.airflow_url}   user admin, password {secrets_of(settings)['admin']}")
    print(f"               users op and viewer, who may do less: passwords in {settings.run / 'passwords.json'}")
    print(f"Ray dashboard  {settings.ray_url}   token in {settings.run / 'ray-token'}")
    print(f"storage root   {settings.root}")


def down(settings: Settings) -> None:
    leftovers = processes.down(settings)
    print("stopped" + (f", and ended {leftovers} processes left behind" if leftovers else ""))


def status(settings: Settings) -> int:
    """Print every process and its health. Returns 1 when something is not healthy."""
    states = processes.states(settings)
    for program, state in states.items():
        print(f"{program:15}{state}")
    for port, program in ((settings.ray_port, "ray"), (settings.airflow_port, "api-server")):
        if not states[program].startswith("RUNNING") and ports.is_taken(port):
            print(f"port {port} of {program} is taken by {ports.describe_holder(port)}")
    faults = [*AirflowAPI(settings).list_unhealthy(), *filter(None, [_find_ray_fault(settings)])]
    print("healthy" if not faults else f"not healthy: {', '.join(faults)}")
    return 1 if faults else 0


def trigger(settings: Settings, conf: dict[str, Any], wait: bool) -> int:
    """Trigger a run and print the address of its page. With `wait`, returns 0 when the run reaches any verdict."""
    api = AirflowAPI(settings)
    try:
        api.login()
    except httpx.TransportError:
        raise StackError(f"Airflow at {settings.airflow_url} does not answer; start it with make up") from None
    run_id = api.trigger(conf)
    print(api.build_run_url(run_id), flush=True)
    if not wait:
        return 0
    failed: dict[str, int] = {}
    for task, state, tries in api.follow(run_id):
        print(f"{time.strftime('%H:%M:%S')}  {task:20} {state}", flush=True)
        if state in ("failed", "up_for_retry"):
            print(f"          {api.read_last_error(run_id, task, tries)}", flush=True)
            failed[task] = tries
    if summary := api.read_summary(run_id):
        print(f"{summary['outcome']}: {summary['reason']}\n{summary['record']}")
        return 0
    print("no verdict was reached")
    return 1


def validate(settings: Settings, conf: dict[str, Any]) -> int:
    """Run the DAG in this process. If Ray does not run, it is started and stopped again at the end."""
    had_supervisor = processes.supervisor(settings) is not None
    had_ray = not _find_ray_fault(settings)
    home = settings.run / "in-process"
    try:
        if not had_ray:
            processes.start(settings, "ray")
            _await("Ray", lambda: _find_ray_fault(settings), settings, ("ray",))
        env = environment(settings, home) | QUIET
        _migrate(env)
        command = [str(settings.control / "bin" / "python"), "-m", "dev.in_process", DAG]
        return subprocess.run([*command, json.dumps(conf)], env=env, cwd=REPO, check=False).returncode
    finally:
        if not had_supervisor:
            processes.down(settings)
        elif not had_ray:
            processes.stop(settings, "ray")


def _migrate(env: dict[str, str]) -> None:
    """Bring the database to this Airflow's schema, unless this Airflow has done so before."""
    marker, version = Path(env["AIRFLOW_HOME"], "migrated"), metadata.version("apache-airflow")
    if marker.exists() and marker.read_text() == version:
        return
    command = [sys.executable, "-m", "airflow", "db", "migrate"]
    process = subprocess.run(command, env=env, cwd=REPO, check=False, capture_output=True, text=True)
    if process.returncode:
        raise StackError(f"airflow db migrate failed:\n{process.stdout[-2000:]}{process.stderr[-2000:]}")
    marker.write_text(version)


def _await(component: str, find_missing: Callable[[], str], settings: Settings, programs: tuple[str, ...]) -> None:
    limit, next_print = time.monotonic() + HEALTHY_WITHIN_S, time.monotonic() + SAY_AFTER_S
    while missing := find_missing():
        processes.check_alive(settings, *programs)
        now = time.monotonic()
        if now > limit:
            logs = settings.run / "logs"
            raise StackError(f"{component} not healthy within {HEALTHY_WITHIN_S} s: {missing}; see {logs}")
        if now > next_print:
            print(f"waiting for {component}: {missing}", flush=True)
            next_print = now + SAY_EVERY_S
        time.sleep(1)


def _find_ray_fault(settings: Settings) -> str:
    """The reason why Ray could not start a job now; empty when it could."""
    headers = {"Authorization": f"Bearer {secrets_of(settings)['ray_token']}"}
    url = f"{settings.ray_url}{submission_probe.PATH}"
    try:
        answer = httpx.post(url, json=submission_probe.PROBE, headers=headers, timeout=RAY_ANSWERS_WITHIN_S)
    except httpx.TransportError as error:
        return f"ray (at {settings.ray_url}: {type(error).__name__})"
    if answer.status_code in (401, 403):
        holder = ports.describe_holder(settings.ray_port)
        return f"ray (another stack's, which refuses our token: {holder}; set ASSAY_RAY_PORT to another port)"
    fault = submission_probe.find_fault(answer.status_code, answer.text)
    return f"ray ({fault})" if fault else ""


def _list_missing_dags(api: AirflowAPI) -> str:
    if errors := api.list_import_errors():
        raise StackError("\n".join(["DAGs do not import:", *errors]))
    return ", ".join({DAG, "checkpoint_router", "audit_engine", "decide_run"} - set(api.list_dags()))


def _build_conf(arguments: argparse.Namespace) -> dict[str, Any]:
    suite = uris.make_absolute(arguments.suite) if arguments.suite.endswith((".yaml", ".yml")) else arguments.suite
    conf = {"checkpoint": uris.make_absolute(arguments.checkpoint), "suite": suite, "force": arguments.force}
    return conf | ({"baseline": arguments.baseline} if arguments.baseline else {})


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dev.stack", description=(__doc__ or "").split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("up", "down", "status"):
        commands.add_parser(name)
    for name in ("trigger", "validate"):
        command = commands.add_parser(name)
        command.add_argument("checkpoint", help="URI of a Hugging Face model directory")
        command.add_argument(
            "suite", help="a name in dags/suites; a YAML file for `validate`, or where Airflow has ASSAY_SUITE_FILES=1"
        )
        command.add_argument("--baseline", help="last-accepted, none, or the URI of a validated checkpoint")
        command.add_argument("--force", action="store_true", help="caption and score again")
        if name == "trigger":
            command.add_argument("--wait", action="store_true", help="follow the run to its verdict")
    arguments, settings = parser.parse_args(), Settings()
    try:
        if arguments.command == "trigger":
            return trigger(settings, _build_conf(arguments), arguments.wait)
        if arguments.command == "validate":
            if arguments.suite.endswith((".yaml", ".yml")):  # the person at this shell may name any file
                os.environ["ASSAY_SUITE_FILES"] = "1"
            return validate(settings, _build_conf(arguments))
        return {"up": up, "down": down, "status": status}[arguments.command](settings) or 0
    except (StackError, InputError, httpx.HTTPStatusError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
