"""Wait for the engine in eight threads, three during its start and five while it is in use. Print the answers in
order."""

import threading
import time

from scenes import ARGUMENTS, ENGINE, caption_scenes, print_result

from ray_jobs.checkpoints import inspect
from ray_jobs.engine.client import warm
from ray_jobs.engine.client.session import PREFIX, engine_session

first = inspect.resolve(ARGUMENTS[0])
runs: list[tuple[str, list[str]]] = []
waiting: list[threading.Thread] = []


def wait(uris: list[str]) -> None:
    for uri in uris:
        waiting.append(threading.Thread(target=lambda uri=uri: runs.append((uri, caption_scenes(uri)["said"]))))
        waiting[-1].start()
        time.sleep(1)


wait(ARGUMENTS[:3])
while len(runs) < 3:
    time.sleep(0.1)
with engine_session(PREFIX + warm.engine_key(first, ENGINE), first, ENGINE):
    wait(ARGUMENTS[3:])
    assert len(runs) == 3
for thread in waiting:
    thread.join()
print_result(runs)
