"""A judge's key goes only to the hosts that the deployment names for it, and no reply stores it."""

import base64
from pathlib import Path
from urllib.parse import quote

import pytest
from judge_endpoint import KEY, Reply, completion, serve_endpoint
from judge_inputs import make_judge_spec, write_judge_inputs

from ray_jobs.contract.parse_suite import parse_suite
from ray_jobs.contract.sections.judge import Judge
from ray_jobs.inputs.errors import InputError
from ray_jobs.judge.destination import HOSTS_VARIABLE, check_destination
from ray_jobs.judge.endpoint import connect
from ray_jobs.judge.key_redaction import Secret
from ray_jobs.judge.run import run_judge

HEAD = "name: s\ndataset: {source: s3://b/i}\njudge: {kind: openai, model: m, "
VARIABLES = [
    "AWS_SECRET_ACCESS_KEY",
    "RAY_AUTH_TOKEN",
    "ASSAY_ROOT",
    "ASSAY_JUDGE_HOSTS",
    "ASSAY_JUDGE_KEY_HOSTS",
    "KEY",
    "OPENAI_API_KEY",
    "HF_TOKEN",
    "PATH",
    "assay_judge_key",
    "ASSAY_JUDGE_KEY\n",
    "XASSAY_JUDGE_KEY",
    "ASSAY_JUDGE_KEY2",
    "ASSAY_JUDGE-KEY",
    "ASSAY_JUDGE_é_KEY",
    "",
]


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_suite_names_no_other_secret(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="key_variable"):
        parse_suite(f"{HEAD}base_url: 'http://127.0.0.1:9/v1', key_variable: {variable!r}}}", "s")
    judge = Judge(kind="openai", model="m", base_url="http://127.0.0.1:9/v1")
    with pytest.raises(InputError, match="may be another secret"):  # of a spec, which is no suite
        connect(judge.model_copy(update={"key_variable": variable}))


ADDRESSES = [
    "http://user:secret@127.0.0.1/v1",
    "http://secret@127.0.0.1/v1",
    "http://127.0.0.1/v1?key=secret",
    "http://127.0.0.1/v1#secret",
    "http://127.0.0.1/v1?",
    "ftp://127.0.0.1",
    "file:///etc/passwd",
    "127.0.0.1/v1",
    "http://",
    "http:///v1",
    "http://127.0.0.1:99999",
    "http://127.0.0.1:x",
    "http://[::1",
    "javascript:alert(1)",
    "http://127.0.0.1 .evil.example",
    "http://127.0.0.1\\@evil.example",
    "http://é.example/v1",
    "//127.0.0.1/v1",
    "http://127.0.0.1:0/v1",
    "https://@/v1",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_holds_no_secret_and_means_one_place(address: str) -> None:
    with pytest.raises(InputError, match="base_url") as error:
        parse_suite(f"{HEAD}base_url: '{address}'}}", "s")
    assert "secret" not in str(error.value)


ELSEWHERE = {
    "nothing named": ("", "https://api.example.com/v1"),
    "another host": ("api.example.com", "https://evil.example/v1"),
    "a host below": ("example.com", "https://evil.example.com/v1"),
    "a host above": ("api.example.com", "https://example.com/v1"),
    "the same end": ("example.com", "https://evilexample.com/v1"),
    "the same beginning": ("api.example.com", "https://api.example.com.evil.example/v1"),
    "another port": ("api.example.com", "https://api.example.com:8443/v1"),
    "unencrypted": ("api.example.com", "http://api.example.com/v1"),
    "unencrypted at its port": ("api.example.com:443", "http://api.example.com:443/v1"),
    "for another key": ("ASSAY_JUDGE_B_KEY=api.example.com", "https://api.example.com/v1"),
    "second of another key": ("ASSAY_JUDGE_B_KEY=a.example,api.example.com", "https://api.example.com/v1"),
    "metadata service": ("", "http://169.254.169.254/v1"),
    "metadata service beside others": ("api.example.com", "http://169.254.169.254/v1"),
    "private address": ("", "http://10.0.0.5:8000/v1"),
    "a name in the cluster": ("", "http://judge.default.svc:8000/v1"),
    "this machine where others are named": ("api.example.com", "http://127.0.0.1:9/v1"),
    "a number for this machine": ("", "http://2130706433/v1"),
    "short for this machine": ("", "http://127.1/v1"),
    "every address": ("", "http://0.0.0.0:9/v1"),
    "hexadecimal": ("", "http://0x7f000001/v1"),
    "a name that begins like this machine": ("", "http://localhost.evil.example/v1"),
    "a name that begins like its address": ("", "http://127.0.0.1.evil.example/v1"),
    "mapped address": ("", "http://[::ffff:10.0.0.5]/v1"),
    "neither of two": ("api.example.com, other.example", "https://star.example/v1"),
}


@pytest.mark.parametrize(("hosts", "address"), ELSEWHERE.values(), ids=ELSEWHERE.keys())
def test_the_key_goes_to_no_other_host(hosts: str, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOSTS_VARIABLE, hosts)
    monkeypatch.setenv("ASSAY_JUDGE_KEY", KEY)
    with pytest.raises(InputError, match=r"ASSAY_JUDGE_KEY is not for .* to ASSAY_JUDGE_HOSTS on the Ray cluster"):
        connect(Judge(kind="openai", model="m", base_url=address))


@pytest.mark.parametrize(
    "hosts", ["*", "https://", "user@host", "host/path", "http://h?x=1", "host:port", "ftp://h", "a\\b"]
)
def test_an_invalid_list_of_hosts_is_reported(hosts: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOSTS_VARIABLE, f"api.example.com, {hosts}")
    with pytest.raises(InputError, match="is no host; write host, host:port or http://host"):
        check_destination(Judge(kind="openai", model="m", base_url="https://api.example.com/v1"))


@pytest.mark.parametrize(
    ("hosts", "address"),
    [
        ("api.example.com", "https://API.example.com./v1"),
        ("api.example.com:8443", "https://api.example.com:8443/v1"),
        ("http://10.0.0.5:8000", "http://10.0.0.5:8000/v1"),
        ("ASSAY_JUDGE_B_KEY=b.example; ASSAY_JUDGE_KEY=a.example, http://judge:8000", "http://judge:8000/v1"),
        ("127.0.0.1:9", "http://127.0.0.1:9/v1"),
        ("", "http://127.0.0.1:9/v1"),
        ("", "http://localhost:9/v1"),
        ("", "http://[::1]:9/v1"),
    ],
)
def test_a_host_that_is_named_has_the_key(hosts: str, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOSTS_VARIABLE, hosts)
    check_destination(Judge(kind="openai", model="m", base_url=address))


DATA = KEY.encode()
ECHOES = {
    "plain": KEY,
    "in a sentence": f"your key {KEY}, is wrong",
    "bearer": f"Authorization: Bearer {KEY}",
    "reversed": KEY[::-1],
    "base64": base64.b64encode(DATA).decode(),
    "base64 of the header": base64.b64encode(b"Bearer " + DATA + b" and more").decode(),
    "base64, one further": base64.b64encode(b"x" + DATA).decode(),
    "base64, two further": base64.b64encode(b"xx" + DATA + b"yy").decode(),
    "base64 for URLs": base64.urlsafe_b64encode(DATA).decode(),
    "base64 twice over": base64.b64encode(DATA).decode()[::-1],
    "hexadecimal": DATA.hex(),
    "HEXADECIMAL": DATA.hex().upper(),
    "hexadecimal with colons": ":".join(f"{byte:02x}" for byte in DATA),
    "for a URL": quote(KEY, safe=""),
    "every byte for a URL": "".join(f"%{byte:02X}" for byte in DATA),
    "capitals": KEY.upper(),
    "spaces between": " ".join(KEY),
    "nothing visible between": "\u200b".join(KEY),
    "dashes left out": KEY.replace("-", ""),
    "lines between": "\n".join(KEY[start : start + 4] for start in range(0, len(KEY), 4)),
}


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES.keys())
def test_no_form_of_the_key_is_stored(tmp_path: Path, echo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_JUDGE_KEY", KEY)
    masked = Secret(KEY).mask(echo)
    assert echo not in masked
    assert "***" in masked or "not kept" in masked
    reply_body = completion('{"rationale": %s, "score": 3}' % __import__("json").dumps(f"because {echo} so"))  # noqa: UP031
    with serve_endpoint(lambda text, before: Reply(body=reply_body | {"model": echo})) as endpoint:
        spec = write_judge_inputs(make_judge_spec(str(tmp_path), endpoint.url), {"image-0": "a caption"})
        totals = run_judge(spec, [spec.caption_id])
    assert totals.answered == 1
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert echo.encode() not in stored


def test_a_secret_does_not_show_itself() -> None:
    assert KEY not in repr(Secret(KEY))
    assert KEY not in str([Secret(KEY)])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("to", ["another port", "another path", "http://evil.example/v1"])
def test_no_redirect_is_followed(tmp_path: Path, status: int, to: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_JUDGE_KEY", KEY)
    answer = Reply(body=completion('{"rationale": "x", "score": 5}'))
    with (
        serve_endpoint(lambda text, before: answer) as other,
        serve_endpoint(lambda text, before: replies[0]) as endpoint,
    ):
        places = {"another port": f"{other.url}/chat/completions", "another path": f"{endpoint.url}/v2"}
        replies = [Reply(status, {"error": "elsewhere"}, {"Location": places.get(to, to)})]
        spec = write_judge_inputs(make_judge_spec(str(tmp_path), endpoint.url, tries=1), {"image-0": "a caption"})
        with pytest.raises(Exception, match=f"http-{status}"):
            run_judge(spec, [spec.caption_id])
    assert other.asked == []
