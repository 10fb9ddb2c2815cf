"""Simulated deaths of engines: each poison row is found, and every other row is answered once."""

import random
from collections import Counter
from typing import Any

import pytest

from ray_jobs.contract.sections.engine import Engine
from ray_jobs.engine.client.warm import build_work_queue
from ray_jobs.engine.client.work_queue import MAX_QUARANTINED, MAX_TASKS_IN_FLIGHT, WorkQueue
from ray_jobs.inputs.errors import RetryableError


def tasks(*sizes: int) -> list[dict[str, Any]]:
    return [{"part": f"part-{number}", "rows": list(range(size))} for number, size in enumerate(sizes)]


def keys(task: dict[str, Any]) -> list[str]:
    return [f"{task['part']}/{row}" for row in task["rows"]]


def run_queue(
    queue: WorkQueue, poison: set[str], random: random.Random, killed: float = 0.0
) -> tuple[Counter[str], list[str], int]:
    """How often each row was answered, the quarantined rows, and how many engines died.

    An engine dies of a poison row, or is `killed` with that chance before it answers.
    """
    answers, deaths = Counter[str](), 0
    quarantined: list[str] = []
    running: list[dict[str, Any]] = []
    while True:
        while task := queue.next_task():
            running.append(task)
        assert len(running) <= queue.tasks_at_once
        if not running:
            return answers, quarantined, deaths
        if poison & {key for task in running for key in keys(task)} or random.random() < killed:
            deaths, running = deaths + 1, []
            if failure := queue.on_engine_death("of it"):
                quarantined.append(failure["key"])
                if queue.is_done:
                    return answers, quarantined, deaths
                assert failure["failure"] == "engine-died"
        else:
            finished = running.pop(random.randrange(len(running)))
            queue.on_answer(finished)
            answers.update(keys(finished))


def test_without_a_death_every_row_is_asked_once() -> None:
    answers, quarantined, _ = run_queue(WorkQueue(tasks(5, 1, 8)), set(), random.Random(0))
    assert (set(answers.values()), len(answers), quarantined) == ({1}, 14, [])


def test_small_tasks_are_asked_together_until_there_are_rows_enough() -> None:
    queue = WorkQueue(tasks(*[8] * 200), rows_at_once=100)
    assert len(list(iter(queue.next_task, None))) == 13
    assert len(list(iter(WorkQueue(tasks(*[1] * 200), rows_at_once=1000).next_task, None))) == MAX_TASKS_IN_FLIGHT


def test_large_tasks_are_asked_together_until_there_are_tasks_enough() -> None:
    queue = WorkQueue(tasks(*[64] * 20), tasks_at_once=8, rows_at_once=100)
    assert len(list(iter(queue.next_task, None))) == 8
    assert len(list(iter(lambda: queue.next_task(engines=2), None))) == 8  # as many for the other engine


@pytest.mark.parametrize(
    ("parts", "engines", "shares"), [(4, 2, 2), (7, 2, 4), (40, 2, 8), (3, 8, 1), (40, 1, 8), (0, 2, 0)]
)
def test_the_first_engine_leaves_the_others_their_share(parts: int, engines: int, shares: int) -> None:
    queue = build_work_queue(tasks(*[256] * parts), Engine(replicas=engines, max_num_seqs=256), has_gpu=True)
    assert len(list(iter(queue.next_task, None))) == shares


def test_a_first_death_casts_no_suspicion() -> None:
    queue = WorkQueue(tasks(4, 4))
    first = queue.next_task()
    assert queue.on_engine_death("killed") is None
    assert queue.next_task() == first
    assert queue.next_task() is not None  # at once, as before


@pytest.mark.parametrize("at_once", [2, 8])
@pytest.mark.parametrize("seed", range(40))
def test_poison_rows_are_found_and_only_they_are_lost(seed: int, at_once: int) -> None:
    chance = random.Random(seed)
    chunks = tasks(*(chance.randint(1, 64) for _ in range(chance.randint(1, 12))))
    every = [key for task in chunks for key in keys(task)]
    poison = set(chance.sample(every, min(len(every), chance.randint(1, MAX_QUARANTINED))))
    answers, quarantined, deaths = run_queue(WorkQueue(chunks, at_once), poison, chance)
    assert set(quarantined) == poison
    assert sorted(answers) == sorted(set(every) - poison)
    assert set(answers.values()) <= {1}
    assert deaths <= 2 + len(poison) * (1 + 1 + 6) + len(poison)  # halving 64 rows takes six


def test_an_engine_that_dies_of_everything_ends_it() -> None:
    chunks = tasks(4, 4, 4)
    with pytest.raises(RetryableError, match="engines died of 6 rows asked alone, the last part-1/1: of it"):
        run_queue(WorkQueue(chunks), {key for task in chunks for key in keys(task)}, random.Random(0))


def test_deaths_with_nothing_under_way_are_counted() -> None:
    queue = WorkQueue(tasks(2))
    for count in range(1, 5):
        queue.on_engine_death("did not start")
        assert queue.unexplained_deaths == count


def test_chance_kills_lose_nothing() -> None:
    for seed in range(20):
        chance = random.Random(seed)
        answers, quarantined, _ = run_queue(WorkQueue(tasks(*[16] * 10), 2 + seed % 7), set(), chance, killed=0.1)
        assert (len(answers), set(answers.values()), quarantined) == (160, {1}, [])
