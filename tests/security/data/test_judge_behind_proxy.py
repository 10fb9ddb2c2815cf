"""A judge's endpoint behind the deployment's proxy: requests go through it, and only to permitted hosts."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from judge_endpoint import KEY, JudgeEndpoint, answer_reply, serve_endpoint

from ray_jobs.contract.sections.judge import Judge
from ray_jobs.inputs.errors import InputError
from ray_jobs.judge.destination import HOSTS_VARIABLE
from ray_jobs.judge.endpoint import Reply, connect

PASSWORD = "proxy-passw0rd"
NAME = "judge.invalid"  # a name that no resolver knows, and a proxy may


def ask(base_url: str) -> Reply:
    judge = Judge(kind="openai", model="m", base_url=base_url, tries=1, timeout_seconds=10.0)

    async def ask_once() -> Reply:
        endpoint = connect(judge)
        try:
            return await endpoint.ask("what?", b"", is_pair=False)
        finally:
            await endpoint.client.close()

    return asyncio.run(ask_once())


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_JUDGE_KEY", KEY)
    monkeypatch.setenv(HOSTS_VARIABLE, f"{NAME}, http://{NAME}, http://127.0.0.1")
    for name in ("ASSAY_PROXY", "ASSAY_CA_BUNDLE", "ASSAY_SOURCES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def endpoint() -> Iterator[JudgeEndpoint]:
    with serve_endpoint(lambda *_: answer_reply(score=3)) as judge_endpoint:
        yield judge_endpoint


def address_of(endpoint: JudgeEndpoint) -> str:
    return endpoint.url.removeprefix("http://").partition("/")[0]


def test_an_endpoint_is_asked_through_the_proxy(endpoint: JudgeEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_PROXY", f"http://user:{PASSWORD}@{address_of(endpoint)}")
    assert ask(f"http://{NAME}/v1").failure is None
    (headers,) = endpoint.headers
    assert headers["host"] == NAME
    assert "proxy-authorization" in headers


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"])
def test_no_other_variable_names_a_proxy(
    endpoint: JudgeEndpoint, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, f"http://{address_of(endpoint)}")
    assert ask(f"http://{NAME}/v1").failure == "connection-error"
    assert not endpoint.asked


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0.0.0.0", "[::1]", "169.254.169.254", "10.1.2.3"]
)  # fmt: skip
def test_the_proxy_is_not_asked_for_an_address_inside(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_PROXY", "http://127.0.0.1:1")
    from ray_jobs.judge.exchange import find_proxy

    assert find_proxy(f"http://{host}:8000/v1") is None
    monkeypatch.setenv("ASSAY_SOURCES", "0.0.0.0/0, ::/0, localhost")
    assert find_proxy(f"http://{host}:8000/v1") is not None


def test_an_endpoint_inside_is_asked_directly(endpoint: JudgeEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOSTS_VARIABLE, endpoint.url.removesuffix("/v1"))
    monkeypatch.setenv("ASSAY_PROXY", "http://127.0.0.1:1")
    assert ask(endpoint.url).failure is None
    monkeypatch.setenv("ASSAY_SOURCES", "127.0.0.1")
    assert ask(endpoint.url).failure == "connection-error"


@pytest.mark.parametrize(
    "proxy",
    ["127.0.0.1:3128", f"socks5://u:{PASSWORD}@x", f"ftp://u:{PASSWORD}@x", f"http://u:{PASSWORD}@[::1", "http://"],
)
def test_an_invalid_proxy_is_reported_without_its_password(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_PROXY", proxy)
    with pytest.raises(InputError) as error:
        ask(f"http://{NAME}/v1")
    assert str(error.value) == "ASSAY_PROXY: not a proxy's address; write http://host:port"
    assert error.value.__cause__ is None


def test_a_proxy_that_is_down_is_reported_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("ASSAY_PROXY", f"http://user:{PASSWORD}@127.0.0.1:{port}")
    for url in (f"http://{NAME}/v1", f"https://{NAME}/v1"):
        reply = ask(url)
        assert reply.failure == "connection-error"
        assert reply.detail
        assert PASSWORD not in reply.detail


# --- TLS ---


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """Write a self-signed certificate of the name, and its key. Returns both files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "authority.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "authority.pem", folder / "key.pem"


@contextmanager
def tunnels(
    endpoint: JudgeEndpoint, certificate: Path, key: Path, status: bytes = b"200 ok"
) -> Iterator[tuple[str, list[bytes]]]:
    """A proxy that answers CONNECT with the status and then speaks TLS for the endpoint. Yields its address and what
    it read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    received_bytes: list[bytes] = []
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=tunnel, args=(client,), daemon=True).start()

    def tunnel(client: socket.socket) -> None:
        try:
            received_bytes.append(client.recv(65536))
            client.sendall(b"HTTP/1.1 " + status + b"\r\n\r\n")
            if not status.startswith(b"200"):
                return
            with context.wrap_socket(client, server_side=True) as tls:
                host, port = address_of(endpoint).split(":")
                with socket.create_connection((host, int(port))) as upstream:
                    threading.Thread(target=copy, args=(upstream, tls), daemon=True).start()
                    copy(tls, upstream)
        except OSError:
            return
        finally:
            client.close()

    def copy(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            return

    threading.Thread(target=serve, daemon=True).start()
    with closing(server):
        yield f"http://user:{PASSWORD}@127.0.0.1:{server.getsockname()[1]}", received_bytes


def test_an_https_endpoint_is_asked_in_a_tunnel_signed_by_the_deployments_authorities(
    endpoint: JudgeEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = write_certificate(tmp_path)
    with tunnels(endpoint, certificate, key) as (proxy, received_bytes):
        monkeypatch.setenv("ASSAY_PROXY", proxy)
        judgement = ask(f"https://{NAME}/v1")
        assert judgement.failure == "connection-error"
        assert not endpoint.asked
        monkeypatch.setenv("ASSAY_CA_BUNDLE", str(certificate))
        assert ask(f"https://{NAME}/v1").failure is None
    assert len(endpoint.asked) == 1
    assert received_bytes[-1].startswith(f"CONNECT {NAME}:443 ".encode())
    assert all(KEY.encode() not in request for request in received_bytes)


def test_a_proxy_that_refuses_is_reported_without_its_password(
    endpoint: JudgeEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tunnels(endpoint, *write_certificate(tmp_path), status=b"407 Proxy Authentication Required") as (proxy, _):
        monkeypatch.setenv("ASSAY_PROXY", proxy)
        reply = ask(f"https://{NAME}/v1")
    assert reply.failure == "connection-error"
    assert reply.detail
    assert "407" in reply.detail
    assert PASSWORD not in reply.detail


@pytest.mark.parametrize("content", [None, b"", b"no certificate"], ids=["missing", "empty", "text"])
def test_invalid_authorities_are_an_error_of_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    file = tmp_path / "authorities.pem"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("ASSAY_CA_BUNDLE", str(file))
    with pytest.raises(InputError, match=r"^ASSAY_CA_BUNDLE .*authorities\.pem: no file or folder of certificates"):
        ask(f"https://{NAME}/v1")
