"""Call Ray's Jobs REST API through an Airflow connection, so that `ray` need not be installed beside Airflow.

The connection has type `ray`: host, port (8265), schema (http or https) and the cluster's token as password. Set
`dashboard_url` in its extra if people reach the dashboard under another address than Airflow does.
"""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import aiohttp
import httpx
from airflow.sdk import BaseHook, Connection
from airflow.sdk.exceptions import AirflowNotFoundException

from assay_airflow.exceptions import RayUnreachable
from assay_airflow.hooks.job_info import MAX_RESPONSE_BYTES, parse_job_info, parse_log
from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.names import printable
from ray_jobs.job import submission_probe

TIMEOUT_S = 30
Job = dict[str, Any]


@cache
def read_certificates() -> ssl.SSLContext:
    """The certificates that Python trusts. Reading them takes 17 ms of a core, so a process does it once."""
    return httpx.create_ssl_context()


@dataclass(frozen=True)
class Address:
    """The URL of the Jobs API and the headers that authenticate a request."""

    conn_id: str
    url: str
    dashboard: str
    headers: dict[str, str]

    @classmethod
    def of(cls, connection: Connection) -> "Address":
        if not connection.host:
            raise InputError(f"connection {connection.conn_id}: names no host; set the address of the Ray head")
        url = f"{connection.schema or 'http'}://{connection.host}:{connection.port or 8265}"
        token = connection.password
        dashboard = str(connection.extra_dejson.get("dashboard_url") or url).rstrip("/")
        return cls(connection.conn_id, url, dashboard, {"Authorization": f"Bearer {token}"} if token else {})

    def job_page(self, submission_id: str) -> str:
        return f"{self.dashboard}/#/jobs/{submission_id}"

    def check(self, status: int, text: str) -> None:
        """Raises InputError if Ray refuses the token, and RayUnreachable for any other HTTP error."""
        if status in (401, 403):
            raise InputError(f"Ray at {self.url} refuses the token; check the password of connection {self.conn_id}")
        if "No available agent" in text:
            raise RayUnreachable(f"Ray at {self.url} {submission_probe.NO_AGENT}")
        if status >= 400:
            lines = text.strip().splitlines() or ["no message"]
            raise RayUnreachable(f"Ray at {self.url} answers {status}: {printable(lines[-1], 300)}")

    def check_size(self, size: int) -> None:
        if size > MAX_RESPONSE_BYTES:
            raise RayUnreachable(f"Ray at {self.url} answers more than {MAX_RESPONSE_BYTES} bytes; is it Ray?")

    def job(self, body: bytes) -> Job:
        """The job in a response. Raises RayUnreachable if the body is no job."""
        try:
            return parse_job_info(body)
        except ValueError as error:
            why = printable(str(error), 300)
            raise RayUnreachable(f"Ray at {self.url} answers what is no job: {why}; is it Ray?") from None

    def log(self, body: bytes) -> str:
        """The job's log in a response. Raises RayUnreachable if the body has no log."""
        try:
            return parse_log(body)
        except ValueError as error:
            why = printable(str(error), 300)
            raise RayUnreachable(f"Ray at {self.url} answers what is no log: {why}; is it Ray?") from None

    @contextmanager
    def translate_errors(self) -> Iterator[None]:
        """Turn a connection error into RayUnreachable: one line that names the address and the remedy."""
        try:
            yield
        except (httpx.TransportError, aiohttp.ClientError, TimeoutError, OSError) as error:
            why = str(error).strip() or type(error).__name__
            raise RayUnreachable(
                f"Ray at {self.url} does not answer: {why}; is the head running, and is connection "
                f"{self.conn_id} right?"
            ) from None


class RayHook(BaseHook):
    """Submit, look up and stop Ray jobs. Blocking for operators; `a...` methods for triggers."""

    conn_name_attr, default_conn_name, conn_type, hook_name = "ray_conn_id", "ray_default", "ray", "Ray Jobs"

    def __init__(self, ray_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.ray_conn_id = ray_conn_id
        self._address: Address | None = None

    def address(self) -> Address:
        """Looks the connection up once, so that a signal handler can use the hook while an event loop runs."""
        try:
            self._address = self._address or Address.of(self.get_connection(self.ray_conn_id))
        except AirflowNotFoundException:
            raise self._undefined_error() from None
        return self._address

    async def aget_address(self) -> Address:
        try:
            return Address.of(await self.aget_connection(self.ray_conn_id))
        except AirflowNotFoundException:
            raise self._undefined_error() from None

    def job(self, submission_id: str) -> Job | None:
        """Ray's details of a job (`status`, `message`, `metadata`, `start_time` ...). None if Ray has no such job."""
        address = self.address()
        status, body = self._call("GET", f"/api/jobs/{submission_id}", address=address)
        return None if status == 404 else address.job(body)

    def submit(self, payload: Job) -> bool:
        """Start a job. Returns False if its submission id is taken: another task submitted the same job first."""
        address = self.address()
        status, body = self._call("POST", "/api/jobs/", payload, address=address, check=False)
        text = body.decode(errors="replace")
        if status >= 400 and "already exists" in text:  # Ray answers 500, not 409
            return False
        address.check(status, text)
        return True

    def stop(self, submission_id: str) -> None:
        """Ask Ray to end a job. Does nothing if the job is unknown or over."""
        self._call("POST", f"/api/jobs/{submission_id}/stop")

    async def aping(self) -> None:
        """Check that Ray could start a job now. Raises RayUnreachable, or InputError if Ray refuses the token."""
        address = await self.aget_address()
        async with self.session(address) as session:
            with address.translate_errors():
                async with session.post(submission_probe.PATH, json=submission_probe.PROBE) as response:
                    text = (await _abody(response, address)).decode(errors="replace")
                    if response.status in (401, 403):
                        address.check(response.status, text)
                    if fault := submission_probe.find_fault(response.status, text):
                        raise RayUnreachable(f"Ray at {address.url} {fault}")

    async def aget_job(self, session: aiohttp.ClientSession, address: Address, submission_id: str) -> Job | None:
        with address.translate_errors():
            async with session.get(f"/api/jobs/{submission_id}") as response:
                if response.status == 404:
                    return None
                body = await _abody(response, address)
                address.check(response.status, body.decode(errors="replace"))
                return address.job(body)

    async def aget_log(self, session: aiohttp.ClientSession, address: Address, submission_id: str) -> str:
        """All of a job's log. Raises RayUnreachable if Ray does not give it, or if it exceeds MAX_RESPONSE_BYTES."""
        with address.translate_errors():
            async with session.get(f"/api/jobs/{submission_id}/logs") as response:
                body = await _abody(response, address)
                address.check(response.status, body.decode(errors="replace"))
                return address.log(body)

    async def astop(self, session: aiohttp.ClientSession, address: Address, submission_id: str) -> None:
        with address.translate_errors():
            async with session.post(f"/api/jobs/{submission_id}/stop") as response:
                if response.status != 404:
                    address.check(response.status, (await _abody(response, address)).decode(errors="replace"))

    @staticmethod
    def session(address: Address) -> aiohttp.ClientSession:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        return aiohttp.ClientSession(base_url=address.url, headers=address.headers, timeout=timeout)

    def _call(
        self, method: str, path: str, payload: Job | None = None, *, address: Address | None = None, check: bool = True
    ) -> tuple[int, bytes]:
        address = address or self.address()
        with (
            address.translate_errors(),
            httpx.Client(headers=address.headers, timeout=TIMEOUT_S, verify=read_certificates()) as client,
            client.stream(method, f"{address.url}{path}", json=payload) as response,
        ):
            body = b""
            for piece in response.iter_bytes():
                body += piece
                address.check_size(len(body))
        if check and response.status_code != 404:
            address.check(response.status_code, body.decode(errors="replace"))
        return response.status_code, body

    def _undefined_error(self) -> InputError:
        return InputError(f"connection {self.ray_conn_id} is not defined; add it with type ray, host, port and token")


async def _abody(response: aiohttp.ClientResponse, address: Address) -> bytes:
    body = b""
    async for piece in response.content.iter_any():
        body += piece
        address.check_size(len(body))
    return body
