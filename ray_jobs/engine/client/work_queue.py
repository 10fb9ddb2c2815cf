"""Keeps the tasks of one job that engines have not answered yet, because engines may die. The job's driver uses it.

Invariant: no row is lost. If engines keep dying of a row (a poison row), the row is quarantined: it gets a failure, and
the other rows are answered.
"""

from collections import deque

from ray_jobs.engine.protocol import Answer, Task
from ray_jobs.inputs.errors import RetryableError

MAX_TASKS_IN_FLIGHT = 128
MAX_QUARANTINED = 5  # if there are more poison rows, the engine is at fault


class WorkQueue:
    """Tasks that wait, tasks in flight, and suspects.

    Each engine has at least `tasks_at_once` tasks in flight, and more until they have `rows_at_once` rows. So an engine
    has work while the last rows of other tasks are answered.

    After the first death all tasks in flight go back, because engines are killed for other reasons too. After a later
    death the tasks in flight become suspects. A suspect is in flight alone, and each death halves it.
    """

    def __init__(self, tasks: list[Task], tasks_at_once: int = 2, rows_at_once: int = 0) -> None:
        self.tasks_at_once, self.rows_at_once = tasks_at_once, rows_at_once
        self.waiting, self.suspects, self.running = deque(tasks), deque[Task](), list[Task]()
        self.deaths = self.unexplained_deaths = self.quarantined = 0  # unexplained: without a suspect
        self.is_isolating = False  # the task in flight is a suspect

    @property
    def is_done(self) -> bool:
        """Whether no task waits and none is in flight."""
        return not (self.waiting or self.suspects or self.running)

    def next_task(self, engines: int = 1) -> Task | None:
        """The next task for a job with this number of engines; None if no task waits, or if enough are in flight."""
        if self.suspects:
            if self.running:
                return None
            task, self.is_isolating = self.suspects.popleft(), True
        else:
            if not self.waiting or self._is_full(engines) or (self.running and self.is_isolating):
                return None
            task, self.is_isolating = self.waiting.popleft(), False
        self.running.append(task)
        return task

    def on_answer(self, task: Task) -> None:
        self.running.remove(task)

    def on_engine_death(self, reason: str) -> Answer | None:
        """Take back the tasks in flight. If one row was in flight alone, quarantine it and return its failure.

        Raises RetryableError if more than MAX_QUARANTINED rows are quarantined.
        """
        self.deaths += 1
        in_flight, self.running = self.running, []
        if self.is_isolating and in_flight:
            (task,) = in_flight
            if len(task["rows"]) == 1:
                return self._quarantine(task, reason)
            half = len(task["rows"]) // 2
            self.suspects.extendleft({**task, "rows": rows} for rows in (task["rows"][half:], task["rows"][:half]))
        elif in_flight and self.deaths > 1:
            self.suspects.extendleft(reversed(in_flight))
        else:
            self.unexplained_deaths += 1
            self.waiting.extendleft(reversed(in_flight))
        return None

    def on_lease_lost(self) -> None:
        """Take back the tasks in flight: another job has the engine now, and no row is at fault."""
        self.unexplained_deaths += 1
        (self.suspects if self.is_isolating else self.waiting).extendleft(reversed(self.running))
        self.running = []

    def _is_full(self, engines: int) -> bool:
        tasks, rows = len(self.running), sum(len(task["rows"]) for task in self.running)
        full = tasks >= self.tasks_at_once * engines and rows >= self.rows_at_once * engines
        return full or tasks >= MAX_TASKS_IN_FLIGHT * engines

    def _quarantine(self, task: Task, reason: str) -> Answer:
        self.quarantined += 1
        key = f"{task['part']}/{task['rows'][0]}"
        if self.quarantined > MAX_QUARANTINED:
            raise RetryableError(f"engines died of {self.quarantined} rows asked alone, the last {key}: {reason}")
        return {
            "key": key, "text": None, "finish_reason": None, "prompt_tokens": 0, "tokens": 0, "arrived": 0.0,
            "finished": 0.0, "failure": "engine-died",
            "detail": f"an engine died of it when asked alone: {reason}"[:500],
        }  # fmt: skip
