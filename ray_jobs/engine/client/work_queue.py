"""What is left to ask of an engine that may die: nothing is lost, and a row of which engines die is set aside."""

from collections import deque

from ray_jobs.engine.protocol import Answer, Task
from ray_jobs.inputs.errors import RetryableError

MAX_TASKS_IN_FLIGHT = 128
MAX_QUARANTINED = 5  # rows that may be set aside before it must be the engine


class WorkQueue:
    """Tasks that are left, under way, and suspected.

    `tasks_at_once` are under way at least, and more until they have `rows_at_once` rows, of each engine: so that it has
    some to go on with while the last rows of others are answered.

    After a first death everything is asked again as before: engines are killed for other reasons too. After the next
    ones what was under way is suspected: asked alone, and halved whenever an engine dies of it.
    """

    def __init__(self, tasks: list[Task], tasks_at_once: int = 2, rows_at_once: int = 0) -> None:
        self.tasks_at_once, self.rows_at_once = tasks_at_once, rows_at_once
        self.left, self.suspects, self.running = deque(tasks), deque[Task](), list[Task]()
        self.deaths = self.unexplained_deaths = self.aside = 0  # unexplained: deaths that cast suspicion on no row
        self.alone = False  # what is under way is a suspect

    @property
    def over(self) -> bool:
        """Whether nothing is left to ask and nothing under way."""
        return not (self.left or self.suspects or self.running)

    def next(self, engines: int = 1) -> Task | None:
        """A task to ask one of the engines now, None while there is none or enough are under way."""
        if self.suspects:
            if self.running:
                return None
            task, self.alone = self.suspects.popleft(), True
        else:
            if not self.left or self._enough(engines) or (self.running and self.alone):
                return None
            task, self.alone = self.left.popleft(), False
        self.running.append(task)
        return task

    def answered(self, task: Task) -> None:
        self.running.remove(task)

    def died(self, why: str) -> Answer | None:
        """Take back what was under way; the failure of a row that is set aside, if it was asked alone."""
        self.deaths += 1
        under_way, self.running = self.running, []
        if self.alone and under_way:
            (task,) = under_way
            if len(task["rows"]) == 1:
                return self._set_aside(task, why)
            half = len(task["rows"]) // 2
            self.suspects.extendleft({**task, "rows": some} for some in (task["rows"][half:], task["rows"][:half]))
        elif under_way and self.deaths > 1:
            self.suspects.extendleft(reversed(under_way))
        else:
            self.unexplained_deaths += 1
            self.left.extendleft(reversed(under_way))
        return None

    def lost(self) -> None:
        """Take back what was under way: the engine is another job's, and no row is to blame."""
        self.unexplained_deaths += 1
        (self.suspects if self.alone else self.left).extendleft(reversed(self.running))
        self.running = []

    def _enough(self, engines: int) -> bool:
        tasks, rows = len(self.running), sum(len(task["rows"]) for task in self.running)
        full = tasks >= self.tasks_at_once * engines and rows >= self.rows_at_once * engines
        return full or tasks >= MAX_TASKS_IN_FLIGHT * engines

    def _set_aside(self, task: Task, why: str) -> Answer:
        self.aside += 1
        key = f"{task['part']}/{task['rows'][0]}"
        if self.aside > MAX_QUARANTINED:
            raise RetryableError(f"engines died of {self.aside} rows asked alone, the last {key}: {why}")
        return {
            "key": key, "text": None, "finish_reason": None, "prompt_tokens": 0, "tokens": 0, "arrived": 0.0,
            "finished": 0.0, "failure": "engine-died", "detail": f"an engine died of it when asked alone: {why}"[:500],
        }  # fmt: skip
