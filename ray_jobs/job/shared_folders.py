"""Checks that the directories that a spec names are the same on every node of the Ray cluster.

The frame calls it in the job's driver before the work begins. A root is shared when a node reads back a file that the
driver wrote there. A checkpoint or a data set may be read-only: it is shared when a node sees the driver's files by
name and size. A node that joins later is not asked. `manifests.require_on_node` names the fault when that node makes or
reads a part.
"""

import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ray_jobs.contract.spec import Spec
from ray_jobs.dataset.brace_patterns import expand_pattern
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.storage import objects, uris
from ray_jobs.storage.error_lines import explain_errors, show_uri
from ray_jobs.storage.manifests import SHARE_REMEDY

SAMPLE = 100  # names of a directory that a node must see
SECONDS = 120.0  # for the nodes to answer: a new node may have to unpack the job's files first
PAUSES = (1.0, 4.0, 10.0)  # between tries, because a network file system may show a new file late


@dataclass(frozen=True)
class Folder:
    """What a node must see at a path: the names and sizes of files, and the content of the driver's own."""

    what: str
    path: str
    files: tuple[tuple[str, int], ...]
    nonce: tuple[str, bytes] | None = None

    def is_here(self) -> bool:
        try:
            if self.nonce and Path(self.nonce[0]).read_bytes() != self.nonce[1]:
                return False
            return Path(self.path).exists() and all(_size(f"{self.path}{name}") == size for name, size in self.files)
        except OSError:
            return False


def require_shared(spec: Spec) -> None:
    """Raises InputError for a root, checkpoint or data set in a directory that a node of the cluster does not share.

    Raises RetryableError when a node does not answer. Does nothing on one node, or without a cluster.
    """
    if not ray.is_initialized() or len(_alive()) < 2 or not (named := _list_places(spec)):
        return
    here, shared = ray.get_runtime_context().get_node_id(), set[str]()
    nonce = _write_nonce(spec.root)
    try:
        for pause in (*PAUSES, None):
            folders = [_sample_folder(what, path, nonce if what == "root" else None) for what, path in named.items()]
            others = {node: address for node, address in _alive().items() if node not in shared | {here}}
            lacking = dict(_ask(others, folders))
            shared |= others.keys() - lacking.keys()
            if not lacking:
                return
            if pause:
                time.sleep(pause)
    finally:
        if nonce:
            objects.delete(nonce[0])
    node, folder = next(iter(lacking.items()))
    raise InputError(
        f"{folder.what} {show_uri(folder.path)}: node {others[node]} ({node[:8]}) of the Ray cluster does not "
        f"share it; {SHARE_REMEDY}"
    )


def _alive() -> dict[str, str]:
    """Returns the address of each living node by its id."""
    return {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}


def _list_places(spec: Spec) -> dict[str, str]:
    """Returns the paths that the spec names and that exist here, by their role; the root first."""
    mounted = {
        "root": spec.root,
        "checkpoint": spec.checkpoint.uri,
        "dataset": expand_pattern(spec.suite.dataset.source)[0],
    }
    if spec.checkpoint.base:
        mounted["base model"] = spec.checkpoint.base.uri
    if spec.judge:
        mounted["judge"] = spec.judge.uri
    if spec.clip:
        mounted["CLIP model"] = spec.clip.uri
    paths = {what: uris.local_path(uri) for what, uri in mounted.items()}
    return {what: str(path) for what, path in paths.items() if path and path.is_absolute() and path.exists()}


def _write_nonce(root: str) -> tuple[str, bytes] | None:
    """Write a new hidden file into the root. Returns its path and content, None on S3.

    A later writer removes the file of a killed driver.
    """
    if uris.is_s3(root):
        return None
    uri, content = f"{uris.local_path(root)}/.shared.{uuid.uuid4().hex}", os.urandom(16)
    objects.write(uri, content)
    return uri, content


def _sample_folder(what: str, path: str, nonce: tuple[str, bytes] | None) -> Folder:
    """Returns what other nodes must see at a path. For a root that is the nonce alone, because jobs write there."""
    files: list[tuple[str, int]] = []
    if not nonce and os.path.isfile(path):
        files.append(("", _size(path)))
    elif not nonce:
        with explain_errors(path, "list"), os.scandir(path) as listing:
            files += [(f"/{item.name}", _size(item.path)) for item in islice(listing, SAMPLE) if item.is_file()]
    return Folder(what, path, tuple(files), nonce)


def _size(path: str) -> int:
    return os.stat(path).st_size


def _ask(nodes: dict[str, str], folders: list[Folder]) -> Iterator[tuple[str, Folder]]:
    """Yields each node that does not see a folder, with the first such folder. Skips a node that has left meanwhile."""
    task = ray.remote(num_cpus=0, max_retries=0)(_find_missing)
    answers = {
        node: task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(folders)
        for node in nodes
    }
    deadline = time.monotonic() + SECONDS
    for node, answer in answers.items():
        try:
            folder: Folder | None = ray.get(answer, timeout=max(deadline - time.monotonic(), 0.0))
        except ray.exceptions.RayError as error:
            ray.cancel(answer, force=True)
            if node in _alive():
                raise RetryableError(
                    f"node {nodes[node]} ({node[:8]}) of the Ray cluster did not say within {SECONDS:.0f} s whether it "
                    f"shares the directories ({type(error).__name__}); try again, or remove the node"
                ) from error
            continue
        if folder:
            yield node, folder


def _find_missing(folders: list[Folder]) -> Folder | None:
    return next((folder for folder in folders if not folder.is_here()), None)
