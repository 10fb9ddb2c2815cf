"""Reads an S3 object whole, in bounded time and in one version, and checks its bytes.

`storage.objects` calls this module in every process that reads from S3. The reader does not trust the store. It resumes
a body that ends early with a range request. It gives up on a body that trickles. It compares the bytes with the length
and the checksums that the store gave. Raises what botocore raises, InputError for an object that is too large, and
RetryableError for an object that cannot be read whole.
"""

import base64
import hashlib
import re
import time
import zlib
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray_jobs.inputs.errors import InputError, RetryableError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PATIENCE = 120.0  # seconds that an object may take, in addition to its bytes at the slowest rate
SLOWEST = 100_000  # bytes per second
TRIES = 5  # requests in a row that bring no byte; also attempts at an object that is replaced or wrong while it is read
CHUNK = 2**18
PLAIN_MD5 = re.compile(r"[0-9a-f]{32}")


class Replaced(Exception):
    """The object was replaced since its first bytes were read."""


class Broken(Exception):
    """The body ended early, or does not match the request; the text says how."""


def read_object(
    client: "S3Client",
    bucket: str,
    key: str,
    start: int = 0,
    length: int | None = None,
    at_most: int | None = None,
    version: str | None = None,
) -> bytes:
    """Returns `length` bytes of the object from `start`, or all that follow when `length` is None; fewer only at the
    end of the object.

    With `version`, the object must have that ETag. Raises InputError for more than `at_most` bytes, and RetryableError
    for an object that cannot be read whole.
    """
    why: Exception = Broken("not read")
    budget = _Budget()
    for _ in range(TRIES):
        reading = _Reading(client, bucket, key, start, length, at_most, version, budget)
        try:
            return reading.all_bytes()
        except (Replaced, Broken) as error:
            why = error
            if version and isinstance(error, Replaced):
                break
            time.sleep(0.05)
    raise RetryableError(
        f"s3://{bucket}/{key}: cannot be read whole: {why}; look at the store, or write the object again"
    )


class _Budget:
    """The time that one object may take. `check` raises RetryableError when the time is over."""

    def __init__(self) -> None:
        self.began, self.received = time.monotonic(), 0

    def check(self) -> None:
        took = time.monotonic() - self.began
        if took > PATIENCE + self.received / SLOWEST:
            raise RetryableError(f"too slow: {self.received} bytes in {took:.0f} s; look at the store and the network")


class _Reading:
    """One attempt to read one version of an object.

    A body that breaks is resumed. The attempt ends after TRIES requests in a row that bring no byte.
    """

    def __init__(
        self,
        client: "S3Client",
        bucket: str,
        key: str,
        start: int,
        length: int | None,
        at_most: int | None,
        version: str | None,
        budget: _Budget,
    ) -> None:
        self.client, self.where = client, {"Bucket": bucket, "Key": key}
        self.start, self.at_most, self.version, self.budget = start, at_most, version, budget
        self.size, self.is_whole = length, start == 0 and length is None  # size: bytes wanted, None while unknown
        self.data, self.first = bytearray(), dict[str, Any]()

    def all_bytes(self) -> bytes:
        idle, fault = 0, ""
        while not self.first or len(self.data) < (self.size or 0):
            self.budget.check()
            if idle == TRIES:
                raise Broken(f"{len(self.data)} of {self.size} bytes came, then {fault}")
            before = len(self.data)
            fault = self._more()
            idle = idle + 1 if len(self.data) == before else 0
            if fault:
                time.sleep(0.05 * 2**idle)
        if self.is_whole:
            self._compare()
        return bytes(self.data)

    def _more(self) -> str:
        """Read more bytes with one request. Returns why the body ended early, "" when all wanted bytes came."""
        from urllib3.exceptions import HTTPError

        offset, last = self.start + len(self.data), None if self.size is None else self.start + self.size - 1
        request: dict[str, Any] = dict(self.where)
        if offset or last is not None:
            request["Range"] = f"bytes={offset}-{'' if last is None else last}"
        if self.version:
            request["IfMatch"] = f'"{self.version}"'
        answer: dict[str, Any] = dict(self._get(request))
        with closing(answer["Body"]) as body:
            room = self._begin(answer, offset, "Range" in request)
            try:
                while room > 0 and (piece := body._raw_stream.read1(min(CHUNK, room))):
                    self.data += piece
                    self.budget.received += len(piece)
                    room -= len(piece)
                    self.budget.check()
            except (HTTPError, OSError) as error:
                return type(error).__name__
        return "its body ended" if room > 0 else ""

    def _get(self, request: dict[str, Any]) -> Any:
        from botocore.exceptions import ClientError

        try:
            return self.client.get_object(**request)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in ("PreconditionFailed", "412") or (self.data and code in ("InvalidRange", "416")):
                raise Replaced("it was replaced while it was read") from None
            raise

    def _begin(self, answer: dict[str, Any], offset: int, is_range: bool) -> int:
        """Compare an answer's headers with the request. Returns how many bytes are wanted of its body."""
        etag, length = str(answer.get("ETag", "")).strip('"'), answer.get("ContentLength")
        if self.version and etag and etag != self.version:
            raise Replaced("it was replaced while it was read")
        stated = re.match(r"bytes (\d+)-(\d+)/", str(answer.get("ContentRange", "")))
        if is_range and not stated and offset:
            raise Broken("the store answers with the whole where a range is asked for")
        if stated and int(stated[1]) != offset:
            raise Broken(f"the store answers from byte {stated[1]}, not from {offset}")
        if not self.first:
            self.first, self.version = answer, self.version or etag
            if length is None:
                length = self._length(offset)
            self.size = int(length) if self.size is None else min(self.size, int(length))
            if self.at_most is not None and self.size > self.at_most:
                raise InputError(
                    f"s3://{self.where['Bucket']}/{self.where['Key']}: is {self.size} bytes, more than the "
                    f"{self.at_most} that are read here; check that it is the object that is meant, and make it smaller"
                )
        return (self.size or 0) - len(self.data)

    def _length(self, offset: int) -> int:
        """Returns how many bytes follow `offset`, for an answer that states no length."""
        head = self.client.head_object(Bucket=self.where["Bucket"], Key=self.where["Key"])
        if head.get("ContentLength") is None:
            raise Broken("the store does not say how long it is")
        return max(0, int(head["ContentLength"]) - offset)

    def _compare(self) -> None:
        """Raises Broken when the bytes do not match the checksums that came with them."""
        first, data = self.first, self.data
        if etag := plain_md5(first):
            _same("ETag", hashlib.md5(data, usedforsecurity=False).hexdigest(), etag)
        for name in ("SHA256", "SHA1"):
            if (sum_ := first.get(f"Checksum{name}")) and "-" not in sum_:
                _same(name, base64.b64encode(hashlib.new(name.lower(), data).digest()).decode(), sum_)
        if (crc := first.get("ChecksumCRC32")) and "-" not in crc and first.get("ChecksumType") != "COMPOSITE":
            _same("CRC32", base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode(), crc)


def plain_md5(answer: Any) -> str | None:
    """Returns the MD5 of an object's bytes, or None when its ETag is no such MD5.

    The ETag of an object that was uploaded in parts, or is encrypted with a key, is another sum.
    """
    etag = str(answer.get("ETag", "")).strip('"')
    encrypted = answer.get("SSECustomerAlgorithm") or "kms" in str(answer.get("ServerSideEncryption", ""))
    return etag if PLAIN_MD5.fullmatch(etag) and not encrypted else None


def check_md5(path: Path, answer: Any, subject: str) -> None:
    """Raises RetryableError when the file's MD5 differs from the answer's ETag."""
    if etag := plain_md5(answer):
        with path.open("rb") as file:
            if hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() != etag:
                raise RetryableError(
                    f"{subject}: its bytes are not those of its ETag; look at the store, or write it again"
                )


def _same(name: str, computed: str, stated: str) -> None:
    if computed != stated:
        raise Broken(f"its bytes are not those of its {name}")
