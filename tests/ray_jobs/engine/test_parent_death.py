"""A process started as vLLM's processes are ends with its parent, also when the parent gets kill -9."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest


@pytest.mark.slow
def test_a_process_ends_with_the_one_that_started_it() -> None:
    command = [sys.executable, str(Path(__file__).with_name("spawn_child.py"))]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    assert psutil.wait_procs([child], 30)[1] == []
