"""Answers from Ray's address and failure files of jobs come from outside: they are read within bounds, on one line."""

import asyncio
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from assay_airflow.exceptions import RayUnreachable
from assay_airflow.hooks.job_info import MAX_MESSAGE_CHARS, MAX_RESPONSE_BYTES, parse_job_info
from assay_airflow.hooks.ray import RayHook
from assay_airflow.operators.ray_job import _format_message
from assay_airflow.stages import MAX_FAILURE_BYTES, read_failure
from assay_airflow.stages import MAX_MESSAGE_CHARS as LONGEST_FAILURE
from ray_server import connect
from specs import make_spec, write_failure

from ray_jobs.storage import objects

GOOD = {"status": "RUNNING", "message": "m", "metadata": {"a": "b"}, "start_time": 1, "driver_exit_code": None}


def job_json(**changes: Any) -> bytes:
    return json.dumps(GOOD | changes).encode()


NO_JOBS = {
    "empty": b"",
    "html": b"<html>welcome</html>",
    "a-list": b"[]",
    "a-string": b'"RUNNING"',
    "null": b"null",
    "a-number": b"7",
    "no-status": b"{}",
    "nested-deep": b"[" * 200_000,
    "nested-deep-inside": b'{"status":' + b'{"a":' * 100_000,
    "not-utf-8": b'{"status": "\xff\xfe"}',
    "status-null": job_json(status=None),
    "status-a-list": job_json(status=["RUNNING"]),
    "status-a-number": job_json(status=1),
    "status-empty": job_json(status=""),
    "status-long": job_json(status="R" * 10_000),
    "status-of-two-lines": job_json(status="RUNNING\nFAKE"),
    "status-with-an-escape": job_json(status="\x1b[31mRUNNING"),
    "status-a-template": job_json(status="{{ 7*7 }}"),
    "message-an-object": job_json(message={"a": 1}),
    "message-a-list": job_json(message=["m"]),
    "metadata-a-list": job_json(metadata=["assay_spec"]),
    "metadata-a-string": job_json(metadata="assay_spec"),
    "metadata-of-objects": job_json(metadata={"assay_spec": {"a": 1}}),
    "metadata-of-numbers": job_json(metadata={"assay_spec": 7}),
    "metadata-many": job_json(metadata={str(key): "" for key in range(101)}),
    "start-negative": job_json(start_time=-1),
    "start-of-never": job_json(start_time=10**18),
    "start-infinite": b'{"status": "RUNNING", "start_time": 1e999}',
    "start-nan": b'{"status": "RUNNING", "start_time": NaN}',
    "start-text": job_json(start_time="yesterday"),
    "start-huge": b'{"status": "RUNNING", "start_time": ' + b"9" * 5000 + b"}",
    "exit-code-a-list": job_json(driver_exit_code=[2]),
    "exit-code-a-fraction": job_json(driver_exit_code=2.5),
}


@pytest.mark.parametrize("data", NO_JOBS.values(), ids=list(NO_JOBS))
def test_an_answer_that_is_no_job_is_refused_in_one_short_line(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w") as refused:
        parse_job_info(data)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    "changes",
    [{"message": None}, {"metadata": None}, {"start_time": None}, {"unknown": [1]}, {"status": "SOME_NEW_STATUS"}],
    ids=str,
)
def test_answers_of_other_versions_of_ray_are_read(changes: dict[str, Any]) -> None:
    assert parse_job_info(job_json(**changes))["status"] in ("RUNNING", "SOME_NEW_STATUS")


def test_a_long_message_keeps_its_end() -> None:
    message = parse_job_info(job_json(message="x" * 10**6 + "the reason"))["message"]
    assert len(message) == MAX_MESSAGE_CHARS
    assert message.endswith("the reason")


ODD_TEXTS = {
    "escapes": "\x1b[31mred\x1b[0m",
    "lines": "one\ntwo\r\nthree",
    "line-separators": "one\u2028two\x85three",
    "bidi": "\u202egnp.exe",
    "null": "a\x00b",
    "surrogate": "half \ud800",
    "long": "x" * 10**6,
    "template": "{{ 7*7 }}",
}


@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=list(ODD_TEXTS))
def test_a_message_of_ray_becomes_one_printable_line(text: str) -> None:
    line = _format_message(text)
    assert line.isprintable()
    assert len(line) <= 500


@pytest.mark.parametrize("text", [text for name, text in ODD_TEXTS.items() if name != "surrogate"])
def test_a_failure_message_of_a_job_becomes_printable(tmp_path: Path, text: str) -> None:
    spec = make_spec(tmp_path / "root")
    write_failure(spec, "caption", "trouble", text)
    failure = read_failure("caption", {"metadata": {"assay_spec": spec.uri}}, spec.root)
    assert failure
    assert failure.message.isprintable()
    assert len(failure.message) <= LONGEST_FAILURE


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{", b"null", b"[" * 100_000, b'{"stage": 7}', b"\xff\xfe", b" " * (MAX_FAILURE_BYTES + 1)],
    ids=["empty", "a-list", "cut", "null", "deep", "other", "not-utf-8", "too-large"],
)
def test_an_unreadable_failure_file_is_no_failure(tmp_path: Path, data: bytes) -> None:
    spec = make_spec(tmp_path / "root")
    objects.write(f"{spec.run_uri}/failure.json", data)
    assert read_failure("caption", {"metadata": {"assay_spec": spec.uri}}, spec.root) is None


@pytest.mark.parametrize(
    "spec_uri",
    ["{elsewhere}/spec.json", "{root}/runs/../../elsewhere/spec.json", "/proc/self/spec.json", "s3://other/spec.json"],
)
def test_a_failure_is_read_below_the_root_only(tmp_path: Path, spec_uri: str) -> None:
    spec = make_spec(tmp_path / "root")
    (tmp_path / "elsewhere").mkdir()
    write_failure(spec, "caption", "bad-input", "planted")
    failure = objects.read(f"{spec.run_uri}/failure.json")
    objects.write(f"{tmp_path}/elsewhere/failure.json", failure)
    uri = spec_uri.format(root=spec.root, elsewhere=tmp_path / "elsewhere")
    assert read_failure("caption", {"metadata": {"assay_spec": uri}}, spec.root) is None


@pytest.mark.parametrize(
    "metadata", [None, {}, {"assay_spec": None}, {"assay_spec": 7}, {"assay_spec": ["a"]}], ids=str
)
def test_metadata_that_names_no_spec_has_no_failure(metadata: Any) -> None:
    assert read_failure("caption", {"metadata": metadata}, "/root") is None


class OddServer(BaseHTTPRequestHandler):
    body = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        try:
            self.wfile.write(self.body)
        except OSError:
            return

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def odd_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[OddServer]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), OddServer)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    connect(monkeypatch, server.server_address[1], None)
    yield OddServer
    server.shutdown()
    server.server_close()


async def read_job() -> Any:
    hook = RayHook()
    address = await hook.aget_address()
    async with hook.session(address) as session:
        return await hook.aget_job(session, address, "job-1")


ANSWERS = NO_JOBS | {"too-large": b'{"status": "RUNNING", "message": "' + b"x" * (MAX_RESPONSE_BYTES + 1) + b'"}'}


@pytest.mark.parametrize("call", ["blocking", "async"])
@pytest.mark.parametrize("body", ANSWERS.values(), ids=list(ANSWERS))
def test_a_server_that_is_no_ray_is_unreachable_in_one_line(
    odd_server: type[OddServer], body: bytes, call: str
) -> None:
    odd_server.body = body
    with pytest.raises(RayUnreachable) as raised:
        RayHook().job("job-1") if call == "blocking" else asyncio.run(read_job())
    line = str(raised.value)
    assert line.startswith("Ray at http://127.0.0.1")
    assert line.isprintable()
    assert len(line) < 600
