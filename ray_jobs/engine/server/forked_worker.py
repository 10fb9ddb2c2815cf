"""A Ray worker that a fork server has forked with vLLM imported. `fork_server/ray_worker.py` names it as the program.

Unless ASSAY_VLLM_FORKS is 0, the worker may start vLLM's processes, and first forks the source of these.
"""

import importlib
import os
import runpy
import sys
from contextlib import suppress

from vllm.model_executor.models import registry

from ray_jobs.engine.server.process_forks import run_in_fork, start_fork_source

NEED_RAY = ("vllm.v1.executor.ray_utils",)  # modules that the server imported without Ray

if __name__ == "__main__":
    if os.environ.get("ASSAY_VLLM_FORKS") != "0":
        with suppress(OSError):
            start_fork_source()  # first, while there is one thread
            registry._run_in_subprocess = run_in_fork
    import ray._raylet

    with suppress(ImportError):
        from setproctitle import setproctitle

        ray._raylet.setproctitle = setproctitle  # Ray's own does not find the title where the environment was replaced
    for name in NEED_RAY:
        importlib.reload(sys.modules[name])
    runpy.run_module("ray._private.workers.default_worker", run_name="__main__", alter_sys=True)
