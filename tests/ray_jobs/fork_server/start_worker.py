"""Starts a Ray worker as Ray does, with `forked_program` in place of Ray's program. The environment names the kind."""

import os

from ray_jobs.fork_server import ray_worker

if __name__ == "__main__":
    ray_worker.KIND, ray_worker.MODULE = os.environ.get("KIND_OF_TEST", "bare"), "forked_program"
    ray_worker.main()
