"""Imports a DAG file twice; prints the packages that the first import loaded and the seconds that the second one took.

    python import_twice.py FILE

The second import finds all modules loaded, so what it does is the file's own top level. If that opens a file, a socket
or a process, this process ends with a line that names it. It may list the folder of suites.
"""

import importlib.util
import json
import sys
import time
from typing import Any

from ray_jobs.planning.suite_files import suites_folder

SOURCES = (".py", ".pyc")
is_watching = False


def load(file: str) -> None:
    spec = importlib.util.spec_from_file_location("dag_file", file)
    assert spec
    assert spec.loader
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


def refuse_io(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: Python has no way to remove one."""
    if not is_watching or (event == "open" and str(arguments[0]).endswith(SOURCES)):
        return
    if event == "os.listdir" and str(arguments[0]) == suites_folder():  # the trigger form offers the suites
        return
    if event in ("open", "os.listdir", "os.scandir", "subprocess.Popen") or event.startswith("socket."):
        raise SystemExit(f"top-level I/O: {event} {arguments}")


load(sys.argv[1])
loaded = sorted({name.partition(".")[0] for name in sys.modules})
sys.addaudithook(refuse_io)
is_watching = True
began = time.process_time()
load(sys.argv[1])
is_watching = False
print(json.dumps({"loaded": loaded, "seconds": time.process_time() - began}))
