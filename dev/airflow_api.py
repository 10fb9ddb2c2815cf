"""The local Airflow through its REST API, as any user's script would use it."""

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx

from dev.settings import Settings, secrets_of

DAG = "validate_checkpoint"
ENDED = ("success", "failed")
DONE = (*ENDED, "skipped", "upstream_failed", "removed")  # states in which a task stays
SAY_AFTER_S, SAY_EVERY_S = 10.0, 60.0  # a wait in which nothing changes says what it waits for
BUSY_S = 60.0  # how long a database that is locked may stay so


class AirflowAPI:
    def __init__(self, settings: Settings) -> None:
        self.url, self._settings = settings.airflow_url, settings
        self._client = httpx.Client(base_url=self.url, timeout=30)

    def login(self) -> None:
        who = {"username": "admin", "password": secrets_of(self._settings)["password"]}
        token = self._checked(self._client.post("/auth/token", json=who))["access_token"]
        self._client.headers["Authorization"] = f"Bearer {token}"

    def unhealthy(self) -> list[str]:
        """The components whose heartbeat is missing; empty when all is well."""
        try:
            health = self._client.get("/api/v2/monitor/health").json()
        except (httpx.HTTPError, ValueError):
            return ["api-server"]
        wanted = ("metadatabase", "scheduler", "triggerer", "dag_processor")
        return [name for name in wanted if (health.get(name) or {}).get("status") != "healthy"]

    def dags(self) -> list[str]:
        return [dag["dag_id"] for dag in self.get("/api/v2/dags")["dags"]]

    def import_errors(self) -> list[str]:
        found = self.get("/api/v2/importErrors")["import_errors"]
        return [f"{error['filename']}: {error['stack_trace'].strip().splitlines()[-1]}" for error in found]

    def set_pool(self, name: str, slots: int, description: str) -> None:
        """Deferred tasks keep their slot: the work they wait for goes on."""
        pool = {"name": name, "slots": slots, "description": description, "include_deferred": True}
        until = time.monotonic() + BUSY_S
        while True:
            answer = self._client.post("/api/v2/pools", json=pool)
            if answer.status_code == 409:
                answer = self._client.patch(f"/api/v2/pools/{name}", json=pool)
            if answer.status_code < 500 or time.monotonic() > until:
                self._checked(answer)
                return
            time.sleep(1)  # SQLite is locked while Airflow's components start: setting a pool twice is setting it once

    def trigger(self, conf: dict[str, Any]) -> str:
        answer = self._client.post(f"/api/v2/dags/{DAG}/dagRuns", json={"logical_date": None, "conf": conf})
        return str(self._checked(answer)["dag_run_id"])

    def run_page(self, run_id: str) -> str:
        return f"{self.url}/dags/{DAG}/runs/{quote(run_id)}"

    def follow(self, run_id: str, poll_interval: float = 2.0) -> Iterator[tuple[str, str, int]]:
        """Task, state and try number each time one changes, until the run has ended."""
        path, known = f"/api/v2/dags/{DAG}/dagRuns/{quote(run_id)}", dict[str, str]()
        changed = said = time.monotonic()
        while True:
            ended = self.get(path)["state"] in ENDED
            for task in self.get(f"{path}/taskInstances")["task_instances"]:
                name, state = task["task_id"], task["state"] or "none"
                if known.get(name, "none") != state:
                    known[name] = state
                    changed = said = time.monotonic()
                    yield name, state, task["try_number"]
            if ended:
                return
            if (now := time.monotonic()) - said > (SAY_EVERY_S if said > changed else SAY_AFTER_S):
                said = now
                open_tasks = [f"{name} ({state})" for name, state in known.items() if state not in DONE]
                print(f"          {now - changed:.0f} s: {', '.join(open_tasks) or 'no task has begun'}", flush=True)
            time.sleep(poll_interval)

    def summary(self, run_id: str) -> dict[str, Any] | None:
        """What `publish` said of the run, None where it did not get so far."""
        path = f"/api/v2/dags/{DAG}/dagRuns/{quote(run_id)}/taskInstances/publish/xcomEntries/return_value"
        answer = self._client.get(path, params={"deserialize": True})
        return None if answer.status_code == 404 else self._checked(answer)["value"]

    def last_error(self, run_id: str, task: str, try_number: int) -> str:
        """The last line that a task's log holds at level error, for a person to act on."""
        path = f"/api/v2/dags/{DAG}/dagRuns/{quote(run_id)}/taskInstances/{task}/logs/{max(1, try_number)}"
        lines = self.get(path, headers={"Accept": "application/json"})["content"]
        errors = [line for line in lines if isinstance(line, dict) and line.get("level") == "error"]
        for line in reversed(errors):
            for detail in reversed(line.get("error_detail") or []):
                return f"{detail['exc_type']}: {detail['exc_value']}"
            return str(line["event"])
        return "its log holds no error"

    def get(self, path: str, **kwargs: Any) -> Any:
        return self._checked(self._client.get(path, **kwargs))

    @staticmethod
    def _checked(answer: httpx.Response) -> Any:
        if answer.is_error:
            raise httpx.HTTPStatusError(
                f"{answer.request.method} {answer.request.url.path} answers {answer.status_code}: {answer.text[:500]}",
                request=answer.request,
                response=answer,
            )
        return answer.json()
