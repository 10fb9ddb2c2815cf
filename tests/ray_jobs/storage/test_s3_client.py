"""Each fault of S3 and of its settings is one line with its remedy."""

import pytest

from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.storage import object_listing, objects, s3_client


def test_no_bucket_is_one_clear_line(s3: str) -> None:
    uri = f"{s3}-that-is-not-there/x"
    message = f"cannot write {uri}: there is no such bucket; create it or correct the URI"
    for write_object in (objects.write, objects.create):
        with pytest.raises(InputError) as error:
            write_object(uri, b"")
        assert str(error.value) == message
    with pytest.raises(InputError, match="there is no such bucket"):
        list(object_listing.iterate_entries(uri))


@pytest.mark.integration
@pytest.mark.parametrize("s3", ["swift"], indirect=True)
def test_a_wrong_key_is_one_clear_line(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    monkeypatch.setattr(s3_client._cache, "owner", None)
    with pytest.raises(InputError, match=r"cannot write .*: access denied \(\w+\); check the AWS credentials"):
        objects.write(f"{s3}/x", b"")


def test_no_credentials_is_one_clear_line(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(s3_client._cache, "owner", None)
    with pytest.raises(InputError, match="no AWS credentials; set AWS_ACCESS_KEY_ID"):
        objects.read(f"{s3}/x")


def test_an_endpoint_that_does_not_answer_is_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {
        "ENDPOINT_URL": "http://127.0.0.1:9",
        "ACCESS_KEY_ID": "a",
        "SECRET_ACCESS_KEY": "b",
        "MAX_ATTEMPTS": "1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setattr(s3_client._cache, "owner", None)
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)  # between its tries
    with pytest.raises(RetryableError, match=r"cannot read s3://b/x: .*127.0.0.1:9"):
        objects.read("s3://b/x")


def test_a_client_is_made_without_reading_files_after_the_descriptions_were_read(
    s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("a description was read again")

    monkeypatch.setattr(s3_client._cache, "session", None)
    s3_client.read_descriptions()
    monkeypatch.setattr(s3_client._cache, "owner", None)
    monkeypatch.setattr("botocore.loaders.JSONFileLoader.load_file", refuse)
    s3_client.read_descriptions()  # Airflow runs the plugin that calls it again in each task
    objects.write(f"{s3}/x", b"1")
    assert objects.read(f"{s3}/x") == b"1"


def test_reading_the_descriptions_looks_for_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("credentials were looked up")

    monkeypatch.setattr(s3_client._cache, "session", None)
    monkeypatch.setattr("botocore.credentials.CredentialResolver.load_credentials", refuse)
    s3_client.read_descriptions()
