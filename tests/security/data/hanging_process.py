"""A process with a watchdog of one second. It hangs as its argument says. Started by test_hung_engine.py."""

import asyncio
import os
import re
import sys
import time

from ray_jobs.engine.watchdog import Watchdog


def hold_the_lock() -> None:
    re.match("(a+a+)+$", "a" * 80 + "b")  # holds Python's lock: no thread of this process runs any more


def loop_for_ever() -> None:
    while True:
        pass


def sleep_for_ever() -> None:
    time.sleep(3600)


def lock_forever() -> None:
    import threading

    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def read_a_pipe() -> None:
    reading, _ = os.pipe()
    os.read(reading, 1)


def nested_template() -> None:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    text = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    ImmutableSandboxedEnvironment().from_string(text).render()


def sum_in_c() -> None:
    sum(range(10**13))  # no bytecode, so the lock is never given up


def end() -> None:
    os._exit(0)


HANGS = {
    hang.__name__: hang
    for hang in (
        hold_the_lock, loop_for_ever, sleep_for_ever, lock_forever, read_a_pipe, nested_template, sum_in_c, end,
    )
}  # fmt: skip


async def run(hang: str) -> None:
    watchdog = Watchdog(1.0)
    print(watchdog._process.pid, flush=True)

    async def beat() -> None:
        while True:
            watchdog.beat()
            await asyncio.sleep(0.1)

    beating = asyncio.create_task(beat())
    await asyncio.sleep(0.3)
    if hang == "work":
        for _ in range(30):  # three seconds, a piece at a time
            await asyncio.to_thread(time.sleep, 0.1)
        print("done", flush=True)
    else:
        HANGS[hang]()
    beating.cancel()


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1]))
