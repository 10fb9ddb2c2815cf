"""A store that lies or fails: Assay reads the stored bytes, or reports the fault in one line."""

import base64
import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lying_s3
import pytest
from lying_s3 import Behaviour, LyingServer

from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.storage import arrow_files, s3_body, s3_client
from ray_jobs.storage import objects as storage
from ray_jobs.storage.arrow_files import open_arrow
from ray_jobs.storage.object_listing import find_entry, iterate_entries, list_subfolders

DATA = bytes(range(256)) * 40
OTHER = hashlib.md5(b"another").hexdigest()
Told = tuple[type[Exception], str]


@pytest.fixture
def liar(monkeypatch: pytest.MonkeyPatch) -> Iterator[LyingServer]:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)  # between botocore's tries
    monkeypatch.setattr(s3_body, "PATIENCE", 20)
    with lying_s3.running() as server:
        for name, value in server.variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(s3_client._cache, "owner", None)
        yield server


def sha256(data: bytes) -> dict[str, str]:
    return {"x-amz-checksum-sha256": base64.b64encode(hashlib.sha256(data).digest()).decode()}


WHOLE = {
    "honest": Behaviour(DATA),
    "empty": Behaviour(b""),
    "cut once": Behaviour(DATA, cut=3000),
    "cut after the head": Behaviour(DATA, cut=0, cuts=2),
    "cut in every answer but the last": Behaviour(DATA, cut=1000, cuts=7),
    "cut, with an ETag of parts": Behaviour(DATA, cut=3000, etag=f"{OTHER}-2"),
    "cut, and no length": Behaviour(DATA, cut=3000, length=False),
    "no length": Behaviour(DATA, length=False),
    "no length, ends early, with an ETag of parts": Behaviour(DATA, length=False, cut=5, etag=f"{OTHER}-2"),
    "endless beyond its length": Behaviour(DATA, endless=True),
    "encrypted, so that the ETag is no MD5": Behaviour(
        DATA, etag=OTHER, extra={"x-amz-server-side-encryption": "aws:kms"}
    ),
    "with a checksum": Behaviour(DATA, etag="opaque", extra=sha256(DATA)),
    "busy once": Behaviour(DATA, error=(503, "SlowDown"), errors=1),
    "broken once": Behaviour(DATA, error=(500, "InternalError"), errors=1),
}

BROKEN: dict[str, tuple[Behaviour, Told]] = {
    "always cut at the same byte": (Behaviour(DATA, cut=0, cuts=999), (RetryableError, "0 of 10240 bytes came")),
    "longer than it says": (Behaviour(DATA, stated=len(DATA) * 9), (RetryableError, "cannot be read whole")),
    "no length anywhere": (Behaviour(DATA, length=False, head_length=False), (RetryableError, "does not say how long")),
    "endless without a length": (
        Behaviour(DATA, length=False, head_length=False, endless=True),
        (RetryableError, "does not say how long"),
    ),
    "other bytes than the ETag's": (Behaviour(DATA, etag=OTHER), (RetryableError, "not those of its ETag")),
    "other bytes than the checksum's": (
        Behaviour(DATA, etag="opaque", extra=sha256(b"another")),
        (RetryableError, "not those of its SHA256"),
    ),
    "other bytes than the SHA-1's": (
        Behaviour(DATA, etag="opaque", extra={"x-amz-checksum-sha1": base64.b64encode(bytes(20)).decode()}),
        (RetryableError, "not those of its SHA1"),
    ),
    "other bytes than the CRC's": (
        Behaviour(DATA, etag="opaque", extra={"x-amz-checksum-crc32": base64.b64encode(bytes(4)).decode()}),
        (RetryableError, "not those of its CRC32"),
    ),
    "other bytes, twisted in a resumed body": (
        Behaviour(DATA, cut=9, etag=OTHER),
        (RetryableError, "not those of its ETag"),
    ),
    "a byte now and then": (Behaviour(DATA, pause=0.02), (RetryableError, "too slow")),
    "replaced while it is read": (Behaviour(DATA, cut=9, cuts=99, etag_later=OTHER), (RetryableError, "whole")),
    "replaced, If-Match ignored": (
        Behaviour(DATA, cut=9, cuts=99, etag_later=OTHER, if_match=False),
        (RetryableError, "whole"),
    ),
    "ranges ignored": (Behaviour(DATA, cut=9, cuts=99, ranges="ignored"), (RetryableError, "the whole where a range")),
    "another range than asked for": (Behaviour(DATA, cut=9, cuts=99, ranges="shifted"), (RetryableError, "not from")),
    "shorter while it is read": (Behaviour(DATA, stated=20000, cut=9999), (RetryableError, "replaced while")),
    "always 500": (Behaviour(error=(500, "InternalError")), (RetryableError, "InternalError")),
    "always 503": (Behaviour(error=(503, "SlowDown")), (RetryableError, "SlowDown")),
    "400": (Behaviour(error=(400, "BadRequest")), (RetryableError, "BadRequest")),
    "409": (Behaviour(error=(409, "OperationAborted")), (RetryableError, "OperationAborted")),
    "401": (Behaviour(error=(401, "Unauthorized")), (InputError, "check the AWS credentials")),
    "403": (Behaviour(error=(403, "AccessDenied")), (InputError, "check the AWS credentials")),
    "404": (Behaviour(error=(404, "NoSuchKey")), (FileNotFoundError, "no such object")),
    "no bucket": (Behaviour(error=(404, "NoSuchBucket")), (InputError, "create it or correct")),
    "token expired": (Behaviour(error=(400, "ExpiredToken")), (InputError, "renew them")),
    "token invalid": (Behaviour(error=(400, "InvalidToken")), (InputError, "renew them")),
    "token to be refreshed": (Behaviour(error=(400, "TokenRefreshRequired")), (InputError, "renew them")),
    "request expired": (Behaviour(error=(400, "RequestExpired")), (InputError, "renew them")),
    "clock wrong": (Behaviour(error=(403, "RequestTimeTooSkewed")), (InputError, "the clock of this machine")),
    "archived": (Behaviour(error=(403, "InvalidObjectState")), (InputError, "restore it first")),
    "in another region": (Behaviour(error=(301, "PermanentRedirect")), (InputError, "another region")),
    "an error in many lines": (Behaviour(error=(400, "Bad\nRequest")), (RetryableError, "cannot read")),
}


@pytest.mark.parametrize("case", WHOLE)
def test_an_object_is_read_completely_or_resumed(liar: LyingServer, case: str) -> None:
    liar.objects["x"] = WHOLE[case]
    assert storage.read("s3://b/x") == WHOLE[case].data
    assert storage.read("s3://b/x", at_most=len(DATA)) == WHOLE[case].data


@pytest.mark.parametrize("case", BROKEN)
def test_an_object_that_cannot_be_read_completely_is_an_error_of_one_line(
    liar: LyingServer, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    if case == "a byte now and then":
        monkeypatch.setattr(s3_body, "PATIENCE", 0.5)
    liar.objects["x"], (kind, message) = BROKEN[case]
    with pytest.raises(kind, match=message) as error:
        storage.read("s3://b/x")
    assert "\n" not in str(error.value)
    assert type(error.value) is kind


RANGED = ["honest", "cut once", "cut after the head", "no length", "busy once", "endless beyond its length"]


@pytest.mark.parametrize("case", RANGED)
def test_a_range_is_the_requested_bytes(liar: LyingServer, case: str) -> None:
    liar.objects["x"] = WHOLE[case]
    assert storage.read_range("s3://b/x", 100, 4000) == DATA[100:4100]
    assert storage.read_range("s3://b/x", len(DATA) - 5, 100) == DATA[-5:]
    assert storage.read_range("s3://b/x", len(DATA), 5) == b""


def test_a_range_where_the_store_ignores_ranges(liar: LyingServer) -> None:
    liar.objects["x"] = Behaviour(DATA, ranges="ignored")
    assert storage.read_range("s3://b/x", 0, 10) == DATA[:10]
    with pytest.raises(RetryableError, match="the whole where a range"):
        storage.read_range("s3://b/x", 5, 10)


@pytest.mark.parametrize("case", ["honest", "cut once", "cut after the head", "empty"])
def test_a_download_is_complete(liar: LyingServer, tmp_path: Path, case: str) -> None:
    liar.objects["x"] = WHOLE[case]
    storage.download("s3://b/x", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == WHOLE[case].data


@pytest.mark.parametrize(
    "case", ["other bytes than the ETag's", "a byte now and then", "always cut at the same byte", "no bucket"]
)
def test_an_incomplete_download_fails(
    liar: LyingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    if case == "a byte now and then":
        monkeypatch.setattr(s3_body, "PATIENCE", 0.5)
    liar.objects["x"], (kind, _) = BROKEN[case]
    with pytest.raises(
        (kind, RetryableError, FileNotFoundError)
    ):  # the reply to a HEAD does not name the missing object
        storage.download("s3://b/x", tmp_path / "x")


@pytest.mark.parametrize("case", ["replaced", "cut"])
def test_a_file_that_arrow_reads_is_of_one_version(
    liar: LyingServer, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.setattr(arrow_files, "TAIL", 0)  # else one request brings the whole object
    liar.objects["x"] = Behaviour(DATA, cut=1, cuts=1)
    with open_arrow("s3://b/x") as file:
        assert file.read(5) == DATA[:5]
        if case == "replaced":
            liar.objects["x"] = Behaviour(DATA[::-1])
            with pytest.raises(RetryableError, match="replaced while it was read"):
                file.read(5)
        else:
            assert file.read(5) == DATA[5:10]


LARGE = {
    "stated": Behaviour(DATA),
    "not stated": Behaviour(DATA, length=False),
    "endless": Behaviour(DATA, endless=True),
    "stated only": Behaviour(b"x", stated=10**15),
}


@pytest.mark.parametrize("case", LARGE)
def test_an_object_that_is_too_large_is_not_read(liar: LyingServer, case: str) -> None:
    liar.objects["x"] = LARGE[case]
    with pytest.raises(InputError, match=r"x: is \d+ bytes, more than the 100 that are read here"):
        storage.read("s3://b/x", at_most=100)


KEYS = ["a b", "a+b", "a%20b", "a?b=c", "a#b", "é", "a\nb", "a/./b", "a//b", "~", "a&b;c", "\x7f", "\u202e", "😀"]


@pytest.mark.parametrize("key", KEYS, ids=ascii)
def test_an_odd_key_is_read_back(liar: LyingServer, key: str) -> None:
    storage.write(f"s3://b/{key}", key.encode())
    assert storage.read(f"s3://b/{key}") == key.encode()


NO_KEYS = {"half a surrogate": "\ud800", "null byte": "a\0b", "over-long": "x" * 1025, "parent": "a/../../b"}


CALLS: list[Callable[..., Any]] = [
    storage.read, storage.write, storage.create, storage.exists, storage.delete, iterate_entries, find_entry,
    list_subfolders,
]  # fmt: skip


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
@pytest.mark.parametrize("case", NO_KEYS)
def test_a_key_that_cannot_be_is_bad_input(liar: LyingServer, call: Callable[..., Any], case: str) -> None:
    extra = [b""] if call in (storage.write, storage.create) else []
    with pytest.raises(InputError, match="correct the URI"):
        list(call(f"s3://b/{NO_KEYS[case]}", *extra))
    assert not liar.asked


SECRET = {
    "a presigned address": "https://h/x?X-Amz-Signature=hidden-word",
    "a password in an address": "https://user:hidden-word@h/x",
    "a key in an S3 address": "s3://key:hidden-word@bucket/x",
}


@pytest.mark.parametrize("case", SECRET)
def test_no_secret_is_shown(liar: LyingServer, case: str) -> None:
    with pytest.raises((InputError, RetryableError, FileNotFoundError)) as error:
        storage.read(SECRET[case])
    assert "hidden-word" not in str(error.value)


def test_a_password_of_the_endpoint_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://user:hidden-word@127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    monkeypatch.setattr(s3_client._cache, "owner", None)
    with pytest.raises(RetryableError) as error:
        storage.read("s3://b/x")
    assert "hidden-word" not in str(error.value)


def test_an_answer_that_is_lost_after_a_write_leaves_the_bytes(liar: LyingServer) -> None:
    liar.loses_answers = 1
    assert storage.create("s3://b/x", b"mine") in (True, False)  # the retry meets its own bytes: callers read again
    assert storage.read("s3://b/x") == b"mine"


def test_of_32_creators_one_wins(liar: LyingServer) -> None:
    with ThreadPoolExecutor(32) as pool:
        won = list(pool.map(lambda n: storage.create("s3://b/x", f"{n}".encode()), range(32)))
    assert won.count(True) == 1
    assert storage.read("s3://b/x") == f"{won.index(True)}".encode()
