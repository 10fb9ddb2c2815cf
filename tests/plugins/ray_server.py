"""A stand-in for Ray's Jobs REST API: its routes, codes and messages as Ray 2.60 gives them, on a real socket.

`tests/plugins/test_real_ray.py` holds the same client against a real head.
"""

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

TOKEN = "the-token"
STREAM_LAG_S = 0.5  # from the end of a job to the end of its log stream; 2 to 5 s on a real head


class RayServer:
    """`jobs` by submission id, which a test may read and change; `stopped` are the ids of stop requests."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.stopped: list[str] = []
        self.unseen: set[str] = set()  # jobs that the next look does not find, as if they were submitted right after it
        self.on_look: Callable[[int], object] = lambda looks: None  # called with the number of looks at any job so far
        self.broken = 0  # requests to answer with an error
        self.agent = True  # whether the head has an agent, which starts the jobs
        self.log_lines: list[str] = []  # what the log stream brings
        self.late_log_lines: list[str] = []  # in the log, but not yet in the stream
        self.has_log = True  # whether Ray gives the whole log in one answer
        self.log_requests = 0
        self.drop_log_after: int | None = None  # lines of the first log stream before its connection breaks
        self.log_streams = 0
        self.port = self._looks = 0
        self._closing = False

    def __enter__(self) -> "RayServer":
        ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(10)
        return self

    def __exit__(self, *exception: object) -> None:
        self._closing = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def add(self, submission_id: str, status: str, **details: Any) -> None:
        job = {"submission_id": submission_id, "status": status, "message": "", "metadata": {}, "start_time": 1000}
        self.jobs[submission_id] = job | {"driver_exit_code": None} | details

    def _serve(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._runner.cleanup())
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application(middlewares=[self._guard])
        app.router.add_get("/api/jobs/{id}", self._get)
        app.router.add_post("/api/jobs/", self._submit)
        app.router.add_post("/api/jobs/{id}/stop", self._stop)
        app.router.add_get("/api/jobs/{id}/logs", self._log)
        app.router.add_get("/api/jobs/{id}/logs/tail", self._tail)
        self._runner = web.AppRunner(app, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.Response(status=401, text="Unauthorized: Missing authentication token")
        if self.broken and not request.path.endswith("/tail"):
            self.broken -= 1
            return web.Response(status=500, text="Traceback (most recent call last):\nRuntimeError: GCS is away")
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _get(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        self._looks += 1
        self.on_look(self._looks)
        if name in self.unseen:
            self.unseen.discard(name)
            return web.Response(status=404, text=f"Job {name} does not exist")
        if name not in self.jobs:
            return web.Response(status=404, text=f"Job {name} does not exist")
        return web.json_response(self.jobs[name])

    async def _submit(self, request: web.Request) -> web.Response:
        payload = await request.json()
        if not self.agent:
            return web.Response(status=500, text="No available agent to submit job, please try again later.")
        for value in payload.get("entrypoint_label_selector", {}).values():
            return web.Response(status=500, text=f"ValueError: Invalid label selector value `{value}`. The label\n.")
        name = payload["submission_id"]
        if name in self.jobs:
            return web.Response(status=500, text=f"ValueError: Job with submission_id {name} already exists.")
        self.add(name, "PENDING", entrypoint=payload["entrypoint"], metadata=payload["metadata"])
        return web.json_response({"submission_id": name, "job_id": name})

    async def _stop(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        if name not in self.jobs:
            return web.Response(status=404, text=f"Job {name} does not exist")
        self.stopped.append(name)
        self.jobs[name]["status"] = "STOPPED"
        return web.json_response({"stopped": True})

    async def _log(self, request: web.Request) -> web.Response:
        self.log_requests += 1
        if not self.has_log:
            return web.Response(status=500, text="Traceback (most recent call last):\nConnectionError: no agent")
        return web.json_response({"logs": "".join([*self.log_lines, *self.late_log_lines])})

    async def _tail(self, request: web.Request) -> web.WebSocketResponse:
        stream = web.WebSocketResponse()
        await stream.prepare(request)
        self.log_streams += 1
        for number, line in enumerate(self.log_lines):
            if self.log_streams == 1 and number == self.drop_log_after:
                assert request.transport
                request.transport.close()
                return stream
            await stream.send_str(line)
        final = ("SUCCEEDED", "FAILED", "STOPPED")
        while not self._closing and self.jobs.get(request.match_info["id"], {}).get("status") not in final:
            await asyncio.sleep(0.02)
        await asyncio.sleep(STREAM_LAG_S)
        for line in self.late_log_lines:
            await stream.send_str(line)
        await stream.close()
        return stream


def connect(monkeypatch: pytest.MonkeyPatch, port: int, token: str | None) -> None:
    connection = {"conn_type": "ray", "host": "127.0.0.1", "port": port, "password": token}
    monkeypatch.setenv("AIRFLOW_CONN_RAY_DEFAULT", json.dumps(connection))
