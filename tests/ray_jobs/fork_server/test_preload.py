import json
import subprocess
import sys

import pytest
from forking import PROGRAMS


@pytest.mark.slow
def test_vllm_is_loaded_by_one_thread_and_without_ray() -> None:
    """Ray's library would keep the first job for all workers; a second thread could hold a lock in each fork."""
    command = [sys.executable, str(PROGRAMS / "load_kind.py"), "vllm"]
    loaded = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    assert json.loads(loaded.stdout.splitlines()[-1]) == {"threads": 1, "modules": ["vllm.v1.engine.core", "torch"]}
