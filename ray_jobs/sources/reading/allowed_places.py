"""Decide which places a data set may name: public addresses, its own folder, and places that the deployment allows.

The process that reads a source calls this. ASSAY_SOURCES lists the further allowed places, separated by commas or
spaces: networks (`10.1.0.0/16`), hosts (`images.internal`), prefixes of addresses (`http://images.internal:8080/set`),
folders (`/data/images`) and S3 prefixes (`s3://bucket/images`).
"""

import ipaddress
import os
import re
import socket
import stat
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from ray_jobs.dataset.allowed_folders import list_allowed, list_allowed_folders, list_own_folders

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
REMEDY = "ASSAY_SOURCES may allow it"
# Networks that contain an IPv4 address, and the number of bits below the IPv4 address.
EMBEDDED = (("64:ff9b::/96", 0), ("64:ff9b:1::/48", 0), ("2002::/16", 80), ("::/96", 0))
# A cloud's own addresses, and ways into other networks.
PLATFORM = ("168.63.129.16/32", "192.88.99.0/24", "2001::/32", "fec0::/10")


class PlaceRefused(ValueError):
    """The data set may not name the place. The text says nothing about the contents of the place."""


def is_public(address: Address) -> bool:
    """True if everybody can reach the address. An IPv4 address written as IPv6 is judged as the IPv4 address."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return is_public(address.ipv4_mapped)
        for network, shift in EMBEDDED:
            if address in ipaddress.ip_network(network):
                return is_public(ipaddress.IPv4Address((int(address) >> shift) & 0xFFFFFFFF))
    if any(address in ipaddress.ip_network(network) for network in PLATFORM):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def resolve(scheme: str, host: str, port: int, path: str = "/") -> list[str]:
    """The IP addresses of a host. The process may connect to all of them.

    Raises PlaceRefused when one of them is not allowed, and OSError for an unknown name.
    """
    answers = socket.getaddrinfo(_name(host), port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(answer[4][0]) for answer in answers))
    check_addresses(addresses, scheme, host, port, path)
    return addresses


def check_addresses(addresses: Iterable[str], scheme: str, host: str, port: int, path: str) -> None:
    """Raise PlaceRefused unless the process may request the path at each of the host's IP addresses."""
    for address in addresses:
        if not _may_connect(ipaddress.ip_address(address.partition("%")[0]), scheme, _name(host), port, path):
            raise PlaceRefused(f"its host has an address that is not public; {REMEDY}")


def check_place(place: str, home: str) -> Path | None:
    """The real path of an allowed local file; None for an allowed S3 object. `home` is the data set's own folder.

    Raises PlaceRefused when the place lies elsewhere or is not a regular file, and OSError when there is no file.
    """
    if place.startswith("s3://"):
        below = [home, *(entry for entry in list_allowed() if entry.startswith("s3://"))]
        if not any(_is_below(place, prefix) for prefix in below):
            raise PlaceRefused(f"not below the data set's own prefix; {REMEDY}")
        return None
    if "://" in place:
        raise PlaceRefused(f"places of the scheme {place.partition('://')[0][:20]!r} are not read; write a path or URL")
    real = os.path.realpath(place)
    folders = [
        *([] if "://" in home else list_own_folders(home)),
        *list_allowed_folders(),
    ]
    if not any(_is_below(real, os.path.realpath(folder)) for folder in folders):
        raise PlaceRefused(f"not below the data set's own folder, or a link out of it; {REMEDY}")
    if not stat.S_ISREG(os.stat(real).st_mode):
        raise PlaceRefused("not a regular file")
    return Path(real)


def _name(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()


def _may_connect(address: Address, scheme: str, name: str, port: int, path: str) -> bool:
    return is_public(address) or any(_allows(entry, address, scheme, name, port, path) for entry in list_allowed())


def _allows(entry: str, address: Address, scheme: str, name: str, port: int, path: str) -> bool:
    if entry.startswith(("s3://", "/")):
        return False
    if "://" in entry:
        prefix = urlsplit(entry)
        wanted = prefix.port or (443 if prefix.scheme == "https" else 80)
        same = (prefix.scheme, (prefix.hostname or "").rstrip("."), wanted) == (scheme, name, port)
        return same and _is_below(path, prefix.path)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    try:
        network = ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return entry.lower().rstrip(".") == name
    return address in network or (mapped is not None and mapped in network)


def _is_below(place: str, prefix: str) -> bool:
    """True if the place is the prefix or lies below it. False if a step of the place is `.` or `..`, also escaped."""
    if {"..", "."} & set(re.split(r"[/\\]|%2f|%5c", re.sub("%2e", ".", place, flags=re.IGNORECASE).lower())):
        return False
    whole = prefix.rstrip("/")
    return place == whole or place.startswith(f"{whole}/")
