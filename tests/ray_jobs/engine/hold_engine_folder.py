"""Uses an engine's folder as the actor does: prints vLLM's address of a new socket in it, binds it, and waits."""

import sys

import zmq
from vllm.utils.network_utils import get_open_zmq_ipc_path

from ray_jobs.engine.engine_folder import use_engine_folder

use_engine_folder()
with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
    address = get_open_zmq_ipc_path()
    socket.bind(address)
    print(address, flush=True)
    sys.stdin.read()
