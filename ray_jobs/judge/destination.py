"""Checks where a judge's key may be sent: only to hosts that the deployment names for this key, over https.

A suite chooses an endpoint; the deployment owns the keys. ASSAY_JUDGE_HOSTS on the Ray cluster names the hosts:

    ASSAY_JUDGE_HOSTS="api.example.com, judge.internal:8443"                       for every judge's key
    ASSAY_JUDGE_HOSTS="ASSAY_JUDGE_KEY=api.example.com; ASSAY_JUDGE_B_KEY=http://10.0.0.5:8000"   for one key each

A host without a port has its scheme's port. `http://` before a host allows requests without encryption. If the variable
is not set, keys are sent to this machine only. The driver of every job checks this before its program does any work.
"""

import ipaddress
import os
import re
from urllib.parse import urlsplit

from ray_jobs.contract.parse_suite import KEY_VARIABLE, find_address_fault
from ray_jobs.contract.sections.judge import Judge
from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.names import printable

HOSTS_VARIABLE = "ASSAY_JUDGE_HOSTS"
PORTS = {"http": 80, "https": 443}
Destination = tuple[str, str, int]  # scheme, host, port


def check_destination(judge: Judge) -> None:
    """Raises InputError if the judge's endpoint may not receive the key that the suite names."""
    if judge.kind != "openai":
        return
    if fault := find_address_fault(judge.base_url or ""):
        raise InputError(f"judge {printable(judge.model or '', 60)}: base_url {fault}")
    if not re.fullmatch(KEY_VARIABLE, judge.key_variable):
        raise InputError(
            f"judge {printable(judge.model or '', 60)}: key_variable {printable(judge.key_variable, 60)!r} may be "
            "another secret; name it ASSAY_JUDGE_KEY, or ASSAY_JUDGE_ and more that ends with KEY"
        )
    destination = parse_destination(judge.base_url or "")
    hosts_text = os.environ.get(HOSTS_VARIABLE, "").strip()
    if destination in parse_hosts(hosts_text, judge.key_variable) if hosts_text else _is_this_machine(destination[1]):
        return
    scheme, host, port = destination
    host_text = f"[{host}]" if ":" in host else host
    entry = f"{'http://' if scheme == 'http' else ''}{host_text}{'' if port == PORTS[scheme] else f':{port}'}"
    plain = " (http:// sends the key unencrypted)" if scheme == "http" else ""
    raise InputError(
        f"judge {printable(judge.model or '', 60)}: {judge.key_variable} is not for {scheme}://{host_text}:{port}; if "
        f"it is, add {judge.key_variable}={entry} to {HOSTS_VARIABLE} on the Ray cluster{plain}"
    )


def parse_destination(url: str) -> Destination:
    """Scheme, host and port of an address that `find_address_fault` accepts."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").rstrip("."), parts.port or PORTS[parts.scheme]


def parse_hosts(hosts_text: str, variable: str) -> set[Destination]:
    """The destinations to which the key in `variable` may be sent. Raises InputError if an entry is no host."""
    destinations = set()
    for group in hosts_text.split(";"):
        match = re.fullmatch(r"\s*([A-Za-z0-9_]+)\s*=(.*)", group, re.DOTALL)
        name, hosts = match.groups() if match else (variable, group)
        for entry in re.split(r"[,\s]+", hosts.strip()):
            if not entry:
                continue
            url = entry if "://" in entry else f"https://{entry}"
            if not re.fullmatch(r"https?://[\w.\-\[\]:]+/?", url, re.ASCII) or find_address_fault(url):
                raise InputError(
                    f"{HOSTS_VARIABLE}: {printable(entry, 60)!r} is no host; write host, host:port or http://host"
                )
            if name == variable:
                destinations.add(parse_destination(url))
                if "://" not in entry and _is_this_machine(parse_destination(url)[1]):
                    destinations.add(parse_destination(f"http://{entry}"))
    return destinations


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
