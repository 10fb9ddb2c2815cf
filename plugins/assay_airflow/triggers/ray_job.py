"""Follow one Ray job to its end: poll its status, copy its log into the task log, stop it at its deadline.

The operator follows a job for its first seconds in the worker, then the trigger goes on in the triggerer.
"""

# mypy: allow-untyped-calls

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import aiohttp
from airflow.triggers.base import BaseTrigger, TriggerEvent

from assay_airflow import limits
from assay_airflow.exceptions import RayUnreachable
from assay_airflow.hooks.ray import Address, Job, RayHook
from assay_airflow.triggers.log_lines import MAX_CHARS, MAX_LINES, LogLines, format_line
from assay_airflow.triggers.polling import HANDOVER_S
from ray_jobs.inputs.errors import InputError

TERMINAL = frozenset({"SUCCEEDED", "FAILED", "STOPPED"})
LARGEST_FRAME = 16 * 2**20  # of Ray's log stream, in bytes
UNRECOVERABLE_CODES = {
    aiohttp.WSCloseCode.MESSAGE_TOO_BIG,
    aiohttp.WSCloseCode.INVALID_TEXT,
}  # and again after each replay
LAST_LINES_S = 10.0
FIRST_POLL_S = 0.2


def choose_pause(followed: float, longest: float) -> float:
    """Seconds until the next poll of a job that was followed for `followed` seconds: a twentieth of them.

    A short job's end should not wait. Ray's dashboard answers the polls of all jobs, so it gets few for a long job.
    """
    return min(max(followed / 20, FIRST_POLL_S), longest)


class RayJobTrigger(BaseTrigger):
    """One event with `status`: Ray's terminal ones, or TIMEOUT (after stopping the job), LOST, UNREACHABLE, REFUSED.

    `deadline` is in epoch seconds, so that a restarted triggerer does not start the time again. The trigger checks the
    deadline itself, because `defer(timeout=...)` would fail the task and leave the job running.

    `poll_interval` is the longest pause between polls. `lines` and `characters` of the job's log were copied before.
    """

    def __init__(
        self,
        ray_conn_id: str,
        submission_id: str,
        deadline: float,
        poll_interval: float = 5.0,
        patience: float = limits.OUTAGE.total_seconds(),
        lines: int = 0,
        characters: int = 0,
    ) -> None:
        super().__init__()
        self.ray_conn_id, self.submission_id, self.deadline = ray_conn_id, submission_id, deadline
        self.poll_interval, self.patience = poll_interval, patience
        self._lines, self._characters = lines, characters

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            "assay_airflow.triggers.ray_job.RayJobTrigger",
            {
                "ray_conn_id": self.ray_conn_id,
                "submission_id": self.submission_id,
                "deadline": self.deadline,
                "poll_interval": self.poll_interval,
                "patience": self.patience,
                "lines": self._lines,
                "characters": self._characters,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        earliest = time.monotonic() + HANDOVER_S
        event = await self.follow()
        await asyncio.sleep(max(0.0, earliest - time.monotonic()))
        yield TriggerEvent(event)

    async def follow(self, at_most: float = math.inf) -> dict[str, Any] | None:
        """The event of the job's end. None if the job is not over after `at_most` seconds; then it is left running."""
        hook = RayHook(self.ray_conn_id)
        address = await hook.aget_address()
        async with hook.session(address) as session:
            tail = asyncio.create_task(self._copy_log(session))
            try:
                event = await self._wait_for_end(hook, session, address, at_most)
                if event and event["status"] in TERMINAL and not tail.done():
                    await self._copy_end_of_log(hook, session, address, tail)
                return event
            finally:
                tail.cancel()
                with suppress(asyncio.CancelledError):
                    await tail

    async def on_kill(self) -> None:
        """Stop the job: someone marked or cleared the task. Airflow does not call this when a triggerer restarts."""
        hook = RayHook(self.ray_conn_id)
        address = await hook.aget_address()
        async with hook.session(address) as session:
            await hook.astop(session, address, self.submission_id)
        self.log.info("Stopped Ray job %s", self.submission_id)

    async def _wait_for_end(
        self, hook: RayHook, session: aiohttp.ClientSession, address: Address, at_most: float
    ) -> dict[str, Any] | None:
        began_at = answered_at = time.monotonic()
        while True:
            followed = time.monotonic() - began_at
            pause = choose_pause(followed, self.poll_interval)
            try:
                job = await hook.aget_job(session, address, self.submission_id)
                answered_at = time.monotonic()
                if job is None:
                    return self._build_event("LOST")
                if job["status"] in TERMINAL:
                    return self._build_event(job["status"], job)
                if time.time() >= self.deadline:
                    await hook.astop(session, address, self.submission_id)
                    return self._build_event("TIMEOUT", job)
            except InputError as error:
                return self._build_event("REFUSED", message=str(error))
            except RayUnreachable as error:
                silence = time.monotonic() - answered_at
                if silence > self.patience or time.time() >= self.deadline:
                    return self._build_event("UNREACHABLE", message=str(error))
                self.log.warning("%s (silent for %d s, the job is left running)", error, silence)
                pause = self.poll_interval
            if followed >= at_most:
                return None
            await asyncio.sleep(pause)

    def _build_event(self, status: str, job: Job | None = None, message: str = "") -> dict[str, Any]:
        job = job or {}
        return {
            "status": status,
            "submission_id": self.submission_id,
            "message": message or job.get("message") or "",
            "start_time": job.get("start_time") or 0,
            "metadata": job.get("metadata") or {},
            "exit_code": job.get("driver_exit_code"),
        }

    async def _copy_log(self, session: aiohttp.ClientSession) -> None:
        """Copy the job's log line by line while it runs. After a lost connection, continue after the last line."""
        while True:
            with suppress(aiohttp.ClientError, TimeoutError, OSError):
                if await self._copy_stream(session):
                    return
            await asyncio.sleep(self.poll_interval)

    async def _copy_end_of_log(
        self, hook: RayHook, session: aiohttp.ClientSession, address: Address, tail: asyncio.Task[None]
    ) -> None:
        """Copy the lines that the stream has not brought yet, because Ray's stream lags behind by some seconds.

        If Ray does not give the log in one piece, waits for the stream instead.
        """
        try:
            async with asyncio.timeout(LAST_LINES_S):
                log = await hook.aget_log(session, address, self.submission_id)
        except (RayUnreachable, InputError, TimeoutError):
            await asyncio.wait([tail], timeout=LAST_LINES_S)
            return
        if tail.done():  # meanwhile
            return
        tail.cancel()  # no await from here on, so the stream cannot copy the same lines
        lines = LogLines()
        for number, line in enumerate(lines.add(log), 1):
            if number > self._lines and self._copy_numbered(number, line):
                return
        if rest := lines.take():
            self._copy_line(rest)

    async def _copy_stream(self, session: aiohttp.ClientSession) -> bool:
        """Copy from one connection; Ray replays the log from its start on each. Returns True if all is copied."""
        seen, lines = 0, LogLines()
        path = f"/api/jobs/{self.submission_id}/logs/tail"
        async with session.ws_connect(path, heartbeat=30, max_msg_size=LARGEST_FRAME) as stream:
            async for message in stream:
                if message.type is not aiohttp.WSMsgType.TEXT:
                    continue
                for line in lines.add(message.data):
                    seen += 1
                    if seen > self._lines and self._copy_numbered(seen, line):
                        return True
            if stream.close_code in UNRECOVERABLE_CODES:
                self.log.warning("The job's log cannot be copied any further; the Ray dashboard has the rest")
                return True
            rest = lines.take()
            if rest and seen >= self._lines and stream.close_code == aiohttp.WSCloseCode.OK:
                self._copy_line(rest)
            return stream.close_code == aiohttp.WSCloseCode.OK

    def _copy_numbered(self, number: int, line: str) -> bool:
        """Copy the line of this number. Returns True if the task log takes no more."""
        self._lines = number
        self._copy_line(line)
        return self._is_full()

    def _copy_line(self, line: str) -> None:
        text = format_line(line)
        if text.strip():
            self._characters += len(text)
            self.log.info("[ray] %s", text)

    def _is_full(self) -> bool:
        if self._lines < MAX_LINES and self._characters < MAX_CHARS:
            return False
        self.log.warning(
            "The job's log is longer than %d lines or %d characters; the Ray dashboard has the rest",
            MAX_LINES,
            MAX_CHARS,
        )
        return True
