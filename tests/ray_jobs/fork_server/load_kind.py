"""Loads the modules of a kind as a fork server does, and prints the threads and the modules that matter to forks."""

import json
import os
import sys

from ray_jobs.fork_server import preload

if __name__ == "__main__":
    os.environ.update(preload.LOADER_VARIABLES)
    preload.load(sys.argv[1])
    names = [name for name in ("ray", "ray._raylet", "vllm.v1.engine.core", "torch") if name in sys.modules]
    print(json.dumps({"threads": len(preload.list_threads()), "modules": names}))
