"""A client for the local Airflow's REST API. `dev.stack`, the demo and the e2e tests use it."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx

from dev.settings import Settings, secrets_of
from ray_jobs.contract.ids import slug

DAG = "validate_checkpoint"
ENDED = ("success", "failed")
DONE = (*ENDED, "skipped", "upstream_failed", "removed")  # states in which a task stays
SAY_AFTER_S, SAY_EVERY_S = 10.0, 60.0  # when nothing changes for so long, a line names the open tasks
BUSY_S = 60.0  # how long the database may stay locked


class AirflowAPI:
    def __init__(self, settings: Settings) -> None:
        self.url, self._settings = settings.airflow_url, settings
        self._client = httpx.Client(base_url=self.url, timeout=30)

    def login(self) -> None:
        who = {"username": "admin", "password": secrets_of(self._settings)["admin"]}
        token = self._read_json(self._client.post("/auth/token", json=who))["access_token"]
        self._client.headers["Authorization"] = f"Bearer {token}"

    def list_unhealthy(self) -> list[str]:
        """The components without a heartbeat; empty when all are healthy."""
        try:
            health = self._client.get("/api/v2/monitor/health").json()
        except (httpx.HTTPError, ValueError):
            return ["api-server"]
        wanted = ("metadatabase", "scheduler", "triggerer", "dag_processor")
        return [name for name in wanted if (health.get(name) or {}).get("status") != "healthy"]

    def list_dags(self) -> list[str]:
        return [dag["dag_id"] for dag in self.get("/api/v2/dags")["dags"]]

    def list_import_errors(self) -> list[str]:
        errors = self.get("/api/v2/importErrors")["import_errors"]
        return [f"{error['filename']}: {error['stack_trace'].strip().splitlines()[-1]}" for error in errors]

    def set_pool(self, name: str, slots: int, description: str) -> None:
        """Create or change the pool. Deferred tasks keep their slot, because the Ray jobs they wait for still run."""
        pool = {"name": name, "slots": slots, "description": description, "include_deferred": True}
        until = time.monotonic() + BUSY_S
        while True:
            answer = self._client.post("/api/v2/pools", json=pool)
            if answer.status_code == 409:
                answer = self._client.patch(f"/api/v2/pools/{name}", json=pool)
            if answer.status_code < 500 or time.monotonic() > until:
                self._read_json(answer)
                return
            time.sleep(1)  # SQLite is locked while Airflow's components start. Setting a pool twice is harmless

    def trigger(self, conf: dict[str, Any], dag: str = DAG) -> str:
        """Start a run. Returns its id, which begins with the checkpoint's name, if the conf names one."""
        name = slug(str(conf.get("checkpoint") or dag).rstrip("/").rpartition("/")[2])[:200]
        run_id = f"{name}__{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"
        request = {"dag_run_id": run_id, "logical_date": None, "conf": conf}
        answer = self._client.post(f"/api/v2/dags/{dag}/dagRuns", json=request)
        return str(self._read_json(answer)["dag_run_id"])

    def answer(self, dag: str, run_id: str, task: str, option: str, **fields: str) -> None:
        """Answer the question of a task that waits for a person."""
        path = f"/api/v2/dags/{dag}/dagRuns/{quote(run_id)}/taskInstances/{task}/-1/hitlDetails"
        self._read_json(self._client.patch(path, json={"chosen_options": [option], "params_input": fields}))

    def build_run_url(self, run_id: str) -> str:
        return f"{self.url}/dags/{DAG}/runs/{quote(run_id)}"

    def follow(self, run_id: str, poll_interval: float = 2.0) -> Iterator[tuple[str, str, int]]:
        """Task, state and try number each time one changes, until the run has ended."""
        path, states = f"/api/v2/dags/{DAG}/dagRuns/{quote(run_id)}", dict[str, str]()
        last_change = last_printed = time.monotonic()
        while True:
            ended = self.get(path)["state"] in ENDED
            for task in self.get(f"{path}/taskInstances")["task_instances"]:
                name, state = task["task_id"], task["state"] or "none"
                if states.get(name, "none") != state:
                    states[name] = state
                    last_change = last_printed = time.monotonic()
                    yield name, state, task["try_number"]
            if ended:
                return
            pause = SAY_EVERY_S if last_printed > last_change else SAY_AFTER_S
            if (now := time.monotonic()) - last_printed > pause:
                last_printed = now
                open_tasks = [f"{name} ({state})" for name, state in states.items() if state not in DONE]
                print(
                    f"          {now - last_change:.0f} s: {', '.join(open_tasks) or 'no task has begun'}", flush=True
                )
            time.sleep(poll_interval)

    def read_summary(self, run_id: str) -> dict[str, Any] | None:
        """The result of the task `publish`; None when the run did not reach that task."""
        path = f"/api/v2/dags/{DAG}/dagRuns/{quote(run_id)}/taskInstances/publish/xcomEntries/return_value"
        answer = self._client.get(path, params={"deserialize": True})
        return None if answer.status_code == 404 else self._read_json(answer)["value"]

    def read_last_error(self, run_id: str, task: str, try_number: int) -> str:
        """The last line at level error in a task's log, which tells a person what to do."""
        path = f"/api/v2/dags/{DAG}/dagRuns/{quote(run_id)}/taskInstances/{task}/logs/{max(1, try_number)}"
        lines = self.get(path, headers={"Accept": "application/json"})["content"]
        errors = [line for line in lines if isinstance(line, dict) and line.get("level") == "error"]
        for line in reversed(errors):
            for detail in reversed(line.get("error_detail") or []):
                return f"{detail['exc_type']}: {detail['exc_value']}"
            return str(line["event"])
        return "its log holds no error"

    def get(self, path: str, **kwargs: Any) -> Any:
        return self._read_json(self._client.get(path, **kwargs))

    @staticmethod
    def _read_json(answer: httpx.Response) -> Any:
        if answer.is_error:
            raise httpx.HTTPStatusError(
                f"{answer.request.method} {answer.request.url.path} answers {answer.status_code}: {answer.text[:500]}",
                request=answer.request,
                response=answer,
            )
        return answer.json()
