"""Addresses inside the cluster: no request is sent there, and no error shows their content."""

import socket
import threading
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from reply_server import Reply, serve_replies

from ray_jobs.sources.reading import allowed_places, web

SECRET = b"the dashboard's secret"


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = web.Limits(connect=0.5, read=0.5, total=2, size=10_000, retries=0, backoff=0.01, retry_after=0.1)
    monkeypatch.setattr(web, "LIMITS", limits)


def patch_resolver(monkeypatch: pytest.MonkeyPatch, names: dict[str, list[str]]) -> list[str]:
    """Make these names resolve as given. Returns the list of names that are looked up."""
    real, hosts_asked = socket.getaddrinfo, list[str]()

    def getaddrinfo(host: Any, port: Any, *arguments: Any, **host_name: Any) -> Any:
        hosts_asked.append(str(host))
        addresses = names.get(str(host), [str(host)])
        return [result for address in addresses for result in real(address, port, type=socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return hosts_asked


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001",
        "0", "0.0.0.0", "127.255.255.254", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
        "[0:0:0:0:0:0:0:1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[::127.0.0.1]",
        "[fe80::1]", "[fec0::1]", "[fc00::1]", "[fd00:ec2::254]", "[ff02::1]", "localhost", "LOCALHOST", "localhost.",
        "127.0.0.1.", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.254", "192.168.0.1", "100.64.0.1",
        "100.100.100.200", "169.254.169.254", "169.254.170.2", "2852039166", "0xa9fea9fe", "[::ffff:169.254.169.254]",
        "168.63.129.16", "192.0.0.192", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
        "user@127.0.0.1", "good.example:80@127.0.0.1", "good.example%40@127.0.0.1", "127.0.0.1#@good.example",
        "127.0.0.1\\@good.example", "\u2460\u2461\u2466.0.0.1", "127\u30020\u30020\u30021", "\uff11\uff12\uff17.0.0.1",
    ],
)  # fmt: skip
def test_an_address_inside_is_not_asked(host: str) -> None:
    with serve_replies(lambda *_: Reply(body=SECRET)) as address:
        port = address.rpartition(":")[2]
        data, detail = web.fetch(f"http://{host}:{port}/x")
    assert data is None
    assert "secret" not in detail


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "0.0.0.0", "10.1.2.3", "169.254.169.254", "100.100.100.200", "168.63.129.16", "192.168.1.1",
        "::1", "::", "::ffff:10.0.0.1", "64:ff9b::a9fe:a9fe", "2002:a00:1::", "fd00::1", "fe80::1", "::7f00:1",
        "2001::1", "ff02::1", "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.51.100.1", "203.0.113.9", "2001:db8::1",
    ],
)  # fmt: skip
def test_an_address_that_not_everybody_reaches(address: str) -> None:
    assert not allowed_places.is_public(ip_address(address))


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
)
def test_an_address_that_everybody_reaches(address: str) -> None:
    assert allowed_places.is_public(ip_address(address))


@pytest.mark.parametrize(
    "name",
    ["metadata", "metadata.google.internal", "kubernetes.default.svc", "assay-ray-head-svc", "head.internal",
     "instance-data", "b\u00fccher.example", "rebind.example.com", "trailing.example.com."],
)  # fmt: skip
def test_a_name_of_an_address_inside_is_not_asked(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_replies(lambda *_: Reply(body=SECRET)) as address:
        plain = name.rstrip(".").encode("idna").decode()
        patch_resolver(monkeypatch, {plain: ["127.0.0.1"], name.rstrip("."): ["127.0.0.1"]})
        data, detail = web.fetch(f"http://{name}:{address.rpartition(':')[2]}/x")
    assert data is None
    assert "secret" not in detail
    assert "ASSAY_SOURCES" in detail


def test_a_name_of_two_addresses_is_refused_for_one_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    patch_resolver(monkeypatch, {"two.example": ["1.1.1.1", "127.0.0.1"]})
    with pytest.raises(allowed_places.PlaceRefused):
        allowed_places.resolve("http", "two.example", 80)


def test_a_name_is_looked_up_once_and_that_address_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a second lookup for the connection, the name could have another address."""
    monkeypatch.setenv("ASSAY_SOURCES", "127.0.0.1")
    with serve_replies(lambda *_: Reply(body=b"image")) as address:
        names = patch_resolver(monkeypatch, {"once.example": ["127.0.0.1"]})
        assert web.fetch(f"http://once.example:{address.rpartition(':')[2]}/x") == (b"image", "")
    assert names.count("once.example") == 1


@pytest.mark.parametrize("target", ["http://127.0.0.1:{port}/y", "http://localhost:{port}/y", "//127.0.0.1:{port}/y",
                                    "http://2130706433:{port}/y", "http://[::ffff:127.0.0.1]:{port}/y",
                                    "http://[::1]:{port}/y"])  # fmt: skip
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_inside_is_not_followed(target: str, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    arrived = []

    def inside(path: str, _: int) -> Reply:
        arrived.append(path)
        return Reply(body=SECRET)

    with serve_replies(inside) as other:
        location = target.format(port=other.rpartition(":")[2])
        with serve_replies(lambda *_: Reply(status, headers={"Location": location})) as address:
            monkeypatch.setenv("ASSAY_SOURCES", f"{address}/")
            data, detail = web.fetch(f"{address}/x")
    assert data is None
    assert arrived == []
    assert "secret" not in detail


@pytest.mark.parametrize(
    "scheme", ["file", "ftp", "gopher", "dict", "ldap", "jar", "netdoc", "data", "javascript", "unix"]
)
def test_a_scheme_that_is_not_the_webs(scheme: str) -> None:
    with pytest.raises(allowed_places.PlaceRefused):
        allowed_places.check_place(f"{scheme}:///etc/passwd", "/data")
    with serve_replies(lambda *_: Reply(302, headers={"Location": f"{scheme}:///etc/passwd"})) as address:
        data, _ = web.fetch(f"{address}/x")
    assert data is None


def fetch_replies(monkeypatch: pytest.MonkeyPatch, sources: Callable[[str], str], path: str = "/x") -> bytes | None:
    with serve_replies(lambda *_: Reply(body=b"image")) as address:
        monkeypatch.setenv("ASSAY_SOURCES", sources(address))
        return web.fetch(f"{address}{path}")[0]


@pytest.mark.parametrize("sources", ["127.0.0.1", "127.0.0.0/8", "10.0.0.0/8 127.0.0.1/32", "x.example,127.0.0.1",
                                     "{address}", "{address}/", "{address}/x"])  # fmt: skip
def test_what_the_deployment_allows_is_asked(sources: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fetch_replies(monkeypatch, lambda address: sources.format(address=address)) == b"image"


@pytest.mark.parametrize("sources", ["", "10.0.0.0/8", "127.0.0.2", "localhost", "{address}/y", "https://127.0.0.1",
                                     "http://127.0.0.1:1/", "/", "s3://b", "a.example", "{address}0"])  # fmt: skip
def test_what_it_does_not_allow_is_not(sources: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fetch_replies(monkeypatch, lambda address: sources.format(address=address)) is None


@pytest.mark.parametrize("path", ["/set/../x", "/set/%2e%2e/x", "/set/..%2fx", "/settle", "/set/%2E./x"])
def test_a_prefix_is_not_left(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if path == "/set/../x":
        path = "/x"  # as every client writes it
    assert fetch_replies(monkeypatch, lambda address: f"{address}/set", path) is None


def test_a_pooled_connection_is_not_used_once_disallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_replies(lambda *_: Reply(body=b"image")) as address:
        monkeypatch.setenv("ASSAY_SOURCES", "127.0.0.1")
        assert web.fetch(f"{address}/x")[0] == b"image"
        monkeypatch.setenv("ASSAY_SOURCES", "")
        assert web.fetch(f"{address}/x")[0] is None


@pytest.mark.parametrize("path", ["/admin", "/", "/settle", "/set/..%2fadmin", "/set?next=/admin", "/set/2.jpg"])
def test_a_prefix_holds_on_a_pooled_connection(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arrived = []

    def answer(place: str, _: int) -> Reply:
        arrived.append(place)
        return Reply(body=b"image")

    with serve_replies(answer) as address:
        monkeypatch.setenv("ASSAY_SOURCES", f"{address}/set")
        assert web.fetch(f"{address}/set/1.jpg") == (b"image", "")
        data, detail = web.fetch(f"{address}{path}")
        after, _ = web.fetch(f"{address}/set/3.jpg")
    if path in ("/set?next=/admin", "/set/2.jpg"):
        assert (data, detail) == (b"image", "")
        assert arrived == ["/set/1.jpg", path, "/set/3.jpg"]
    else:
        assert data is None
        assert "ASSAY_SOURCES" in detail
        assert arrived == ["/set/1.jpg", "/set/3.jpg"]
    assert after == b"image"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_prefix_holds_when_the_server_redirects(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    arrived = []

    def answer(place: str, _: int) -> Reply:
        arrived.append(place)
        if place == "/set/1.jpg":
            return Reply(status, headers={"Location": "/admin"})
        return Reply(body=SECRET)

    with serve_replies(answer) as address:
        monkeypatch.setenv("ASSAY_SOURCES", f"{address}/set")
        data, detail = web.fetch(f"{address}/set/1.jpg")
    assert data is None
    assert "ASSAY_SOURCES" in detail
    assert arrived == ["/set/1.jpg"]


def test_no_password_of_the_node_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("default login me password hidden\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("ASSAY_SOURCES", "127.0.0.1")
    payloads: list[str] = []
    received = threading.Event()

    def then(handler: Any) -> None:
        payloads.append(str(handler.headers))
        received.set()

    with serve_replies(lambda *_: Reply(body=b"image", then=then)) as address:
        web.fetch(f"{address}/x")
        assert received.wait(60)  # the body is there before the server goes on
    assert payloads
    assert "Authorization" not in payloads[0]


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_no_proxy_of_the_node_is_asked(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_replies(lambda *_: Reply(body=SECRET)) as proxy:
        monkeypatch.setenv(name, proxy)
        monkeypatch.setenv("ASSAY_SOURCES", "127.0.0.1")
        data, _ = web.fetch("http://127.0.0.1:1/x")
    assert data is None


def test_a_proxy_of_the_deployment_does_not_lead_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_replies(lambda *_: Reply(body=SECRET)) as proxy:
        monkeypatch.setenv("ASSAY_PROXY", proxy)
        data, detail = web.fetch("http://169.254.169.254/latest")
    assert data is None
    assert "ASSAY_SOURCES" in detail
