"""Records what Airflow and Ray show of one run of `validate_checkpoint` while it runs, for `benchmarks.waterfall`.

Three threads look: at the states of the run's tasks and at Ray's jobs each POLL_S, and at the log files of the jobs'
drivers each FILE_POLL_S. So a state is known within POLL_S, a line of a job within FILE_POLL_S. The times that Airflow
and the tasks' logs give by themselves are exact.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from benchmarks.run_phases import parse_time
from dev.airflow_api import DAG, ENDED, AirflowAPI
from dev.settings import Settings, secrets_of

POLL_S, FILE_POLL_S = 0.2, 0.05


@dataclass
class JobTimes:
    """When a job was seen in which state. All times are in epoch seconds."""

    statuses: list[tuple[float, str]] = field(default_factory=list)
    info: dict[str, Any] = field(default_factory=dict)  # the last answer of Ray's jobs API
    lines: list[tuple[float | None, str]] = field(default_factory=list)  # of the driver's log, and when each was seen
    process_gone: float | None = None


@dataclass
class Recording:
    """All that was seen of one run. `states` are (time, task, state, try) of each change."""

    run_id: str
    began: float
    ended: float = 0.0
    run: dict[str, Any] = field(default_factory=dict)
    states: list[tuple[float, str, str, int]] = field(default_factory=list)
    tasks: list[dict[str, Any]] = field(default_factory=list)
    logs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    jobs: dict[str, JobTimes] = field(default_factory=dict)
    load: tuple[float, ...] = ()
    conf: dict[str, Any] = field(default_factory=dict)


def record_run(settings: Settings, api: AirflowAPI, conf: dict[str, Any]) -> dict[str, Any]:
    """Trigger a run and watch it to its end. Returns the `Recording` as JSON has it."""
    recording = Recording("", time.time(), load=read_load(), conf=conf)
    with watch_jobs(settings, recording):
        recording.run_id = api.trigger(conf)
        _watch_states(api, recording)
    recording.logs = {task["task_id"]: _read_log(api, recording.run_id, task) for task in recording.tasks}
    return asdict(recording)


def read_load() -> tuple[float, ...]:
    """The load averages of the last 1, 5 and 15 minutes."""
    return tuple(map(float, Path("/proc/loadavg").read_text().split()[:3]))


def read_run(settings: Settings, api: AirflowAPI, run_id: str) -> dict[str, Any]:
    """The `Recording` of a run that has ended, as JSON has it. No state was seen, and a job's lines have no time."""
    recording = read_tasks(api, run_id)
    watcher = _JobWatcher(settings, recording)
    watcher.finish()
    for job in recording.jobs.values():
        job.statuses, job.process_gone = [], None
        job.lines = [(None, line) for _, line in job.lines]
    return asdict(recording)


def read_tasks(api: AirflowAPI, run_id: str) -> Recording:
    """What Airflow knows afterwards of a run that has ended."""
    path = f"/api/v2/dags/{DAG}/dagRuns/{quote(run_id)}"
    run = api.get(path)
    recording = Recording(
        run_id, began=parse_time(run["queued_at"]), ended=parse_time(run["end_date"]), run=run, conf=run["conf"]
    )
    recording.tasks = api.get(f"{path}/taskInstances")["task_instances"]
    recording.logs = {task["task_id"]: _read_log(api, run_id, task) for task in recording.tasks}
    return recording


@contextmanager
def watch_jobs(settings: Settings, recording: Recording) -> Iterator[None]:
    """Record Ray's jobs while the block runs."""
    watcher, stop = _JobWatcher(settings, recording), threading.Event()
    threads = [threading.Thread(target=_repeat, args=(stop, *work)) for work in watcher.list_work()]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    watcher.finish()


def _watch_states(api: AirflowAPI, recording: Recording) -> None:
    path, seen = f"/api/v2/dags/{DAG}/dagRuns/{quote(recording.run_id)}", dict[str, str]()
    while True:
        recording.run = api.get(path)
        ended = recording.run["state"] in ENDED
        recording.tasks = api.get(f"{path}/taskInstances")["task_instances"]
        now = time.time()
        for task in recording.tasks:
            name, state = task["task_id"], task["state"] or "none"
            if seen.get(name, "none") != state:
                seen[name] = state
                recording.states.append((now, name, state, task["try_number"]))
        if ended:
            recording.ended = now
            return
        time.sleep(POLL_S)


def _read_log(api: AirflowAPI, run_id: str, task: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines of the task's last try that have a time."""
    if not task["try_number"]:
        return []
    number = task["try_number"]
    path = f"/api/v2/dags/{DAG}/dagRuns/{quote(run_id)}/taskInstances/{task['task_id']}/logs/{number}"
    lines = api.get(path, headers={"Accept": "application/json"})["content"]
    return [
        {"timestamp": line["timestamp"], "event": line["event"], "logger": line.get("logger")}
        for line in lines
        if isinstance(line, dict) and line.get("timestamp")
    ]


class _JobWatcher:
    """Ray's side: the jobs that run during the recording."""

    def __init__(self, settings: Settings, recording: Recording) -> None:
        self.recording, self.jobs = recording, recording.jobs
        self.logs = settings.ray_temp / "session_latest" / "logs"
        self.client = httpx.Client(
            base_url=settings.ray_url, headers={"Authorization": f"Bearer {secrets_of(settings)['ray_token']}"}
        )

    def list_work(self) -> list[tuple[Any, float]]:
        return [(self.poll_jobs, POLL_S), (self.poll_files, FILE_POLL_S)]

    def poll_jobs(self) -> None:
        answer = self.client.get("/api/jobs/")
        now = time.time()
        for info in answer.json() if answer.status_code == 200 else []:
            name = info["submission_id"] or ""
            over = (info["end_time"] or 0) / 1000
            if not name.startswith("assay-") or (over and over < self.recording.began):
                continue
            job = self.jobs.setdefault(name, JobTimes())
            if not job.statuses or job.statuses[-1][1] != info["status"]:
                job.statuses.append((now, info["status"]))
            job.info = info

    def poll_files(self, all_jobs: bool = False) -> None:
        for name, job in list(self.jobs.items()):
            if job.process_gone and not all_jobs:
                continue
            pid = (job.info.get("driver_info") or {}).get("pid")
            is_gone = bool(pid) and not Path(f"/proc/{pid}").exists()
            file, now = self.logs / f"job-driver-{name}.log", time.time()
            if file.exists():
                new_lines = file.read_text(errors="replace").splitlines()[len(job.lines) :]
                job.lines.extend((now, line) for line in new_lines)
            if is_gone:  # asked before its log was read, so that its last lines are there
                job.process_gone = job.process_gone or now

    def finish(self) -> None:
        self.poll_jobs()
        self.poll_files(all_jobs=True)
        self.client.close()


def _repeat(stop: threading.Event, work: Any, pause: float) -> None:
    while not stop.is_set():
        work()
        stop.wait(pause)
