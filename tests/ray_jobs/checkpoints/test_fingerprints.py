"""On S3 a checkpoint is known by the SHA-256 that the store keeps, where the upload gave one."""

import base64
import hashlib

import boto3
import pytest
from samples import checkpoint_files, upload

from ray_jobs.checkpoints import files, fingerprints
from ray_jobs.storage import object_listing

NAME = "model-00001-of-00002.safetensors"
# Swift takes no upload with a checksum of its own, so only the stand-in for S3 can show this.
pytestmark = pytest.mark.parametrize("s3", ["moto"], indirect=True)


@pytest.fixture
def model(s3: str) -> str:
    return upload(f"{s3}/step-1", checkpoint_files())


def upload_with_hash(uri: str, name: str, data: bytes) -> None:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    boto3.client("s3").put_object(Bucket=bucket, Key=f"{key}/{name}", Body=data, ChecksumAlgorithm="SHA256")


def entry(uri: str, name: str) -> object_listing.Entry:
    return next(entry for entry in files.list_files(uri) if entry.key == name)


def test_a_sha256_is_taken_where_there_is_one(model: str) -> None:
    assert not entry(model, NAME).has_sha256
    assert object_listing.read_sha256(f"{model}/{NAME}") is None
    upload_with_hash(model, NAME, checkpoint_files()[NAME])
    assert entry(model, NAME).has_sha256
    sha256 = hashlib.sha256(checkpoint_files()[NAME]).digest()
    assert object_listing.read_sha256(f"{model}/{NAME}") == base64.b64encode(sha256).decode()


def test_files_of_one_etag_and_two_contents_are_two_checkpoints(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """MD5 collisions cost a few dollars. Here the listing returns one ETag for every file."""
    real = object_listing._iterate_s3_folder

    def list_with_one_etag(folder: str) -> object:
        return (
            object_listing.Entry(found_entry.key, found_entry.size, "same", found_entry.has_sha256)
            if found_entry
            else None
            for found_entry in real(folder)
        )

    monkeypatch.setattr(object_listing, "_iterate_s3_folder", list_with_one_etag)
    content = bytearray(checkpoint_files()[NAME])
    upload_with_hash(model, NAME, bytes(content))
    before = fingerprints.compute_fingerprint(model)
    assert fingerprints.compute_fingerprint(model) == before
    content[-1] ^= 1
    upload_with_hash(model, NAME, bytes(content))
    assert fingerprints.compute_fingerprint(model) != before
