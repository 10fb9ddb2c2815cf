"""A process that is handed what vLLM's are handed ends with the one that started it, kill -9 included."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

SCRIPT = """
import multiprocessing, os, time
from ray_jobs.engine.config_overrides import make_runnable

def wait(_):
    print(os.getpid(), flush=True)
    time.sleep(60)

if __name__ == "__main__":
    multiprocessing.get_context("spawn").Process(target=wait, args=(make_runnable,)).start()
    time.sleep(60)
"""


@pytest.mark.slow
def test_a_process_ends_with_the_one_that_started_it(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    assert psutil.wait_procs([child], 30)[1] == []
