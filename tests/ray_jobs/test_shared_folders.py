"""A root, checkpoint or data set in a directory that differs between nodes is refused by name."""

import json
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import two_nodes
from samples import make_spec
from two_nodes import TwoNodes

from ray_jobs.contract.sections.preprocess import Preprocess
from ray_jobs.golden.part_tasks import make_part
from ray_jobs.inputs.errors import InputError
from ray_jobs.job.shared_folders import Folder, require_shared
from ray_jobs.storage import objects, parts

DRIVER = str(Path(__file__).with_name("require_shared_driver.py"))
CASES = {
    "everything is shared": ("SHARED/root", "SHARED/model", "SHARED/images"),
    "a root that the head alone has": ("/mnt/alone", "SHARED/model", "SHARED/images"),
    "a root of the same name on each node": ("/mnt/root", "SHARED/model", "SHARED/images"),
    "a checkpoint that the head alone has": ("SHARED/root", "/mnt/alone", "SHARED/images"),
    "a checkpoint with a file of another size": ("SHARED/root", "/mnt/other", "SHARED/images"),
    "a checkpoint that was copied to each node": ("SHARED/root", "/mnt/copied", "SHARED/images"),
    "a data set that the head alone has": ("SHARED/root", "SHARED/model", "/mnt/alone"),
    "a file of a data set that the head alone has": ("SHARED/root", "SHARED/model", "/mnt/alone/weights"),
    "shards that the head alone has": ("SHARED/root", "SHARED/model", "/mnt/alone/weight{s..s}"),
    "all on S3, or named on a hub": ("s3://bucket/root", "s3://bucket/model", "hub/images"),
}
REFUSED = {
    "a root that the head alone has": "root /mnt/alone",
    "a root of the same name on each node": "root /mnt/root",
    "a checkpoint that the head alone has": "checkpoint /mnt/alone",
    "a checkpoint with a file of another size": "checkpoint /mnt/other",
    "a data set that the head alone has": "dataset /mnt/alone",
    "a file of a data set that the head alone has": "dataset /mnt/alone/weights",
    "shards that the head alone has": "dataset /mnt/alone/weights",
}


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoNodes]:
    home = tmp_path_factory.mktemp("nodes")
    with two_nodes.start_two_nodes(home) as two_started:
        for folder in ("SHARED/root", "SHARED/model", "SHARED/images", "a/alone", "a/root", "b/root"):
            (home / folder).mkdir(parents=True)
        for file in ("SHARED/model", "SHARED/images", "a/alone", "a/other", "b/other", "a/copied", "b/copied"):
            (home / file).mkdir(exist_ok=True)
            (home / file / "weights").write_text("other" if file == "b/other" else "weights")
        yield two_started


def ask(nodes: TwoNodes, cases: dict[str, Any], seconds: float = 60) -> dict[str, str]:
    """The driver's result on node a for each case."""
    named_cases = [
        [name, *(place.replace("SHARED", f"{nodes.home}/SHARED") for place in case)] for name, case in cases.items()
    ]
    process = nodes.run(sys.executable, DRIVER, str(seconds), json.dumps(named_cases))
    lines = [line for line in process.stdout.splitlines() if line.startswith("{")]
    assert len(lines) == len(cases), process.stdout + process.stderr
    return {name: outcome for line in lines for name, outcome in json.loads(line).items()}


@pytest.fixture(scope="module")
def on_one_node(nodes: TwoNodes) -> tuple[dict[str, str], bool]:
    """The result on a cluster of one node, and whether anything was written to the root."""
    before = (nodes.home / "a" / "root").stat().st_mtime_ns
    outcomes = ask(nodes, CASES)
    return outcomes, (nodes.home / "a" / "root").stat().st_mtime_ns != before


@pytest.fixture(scope="module")
def on_two_nodes(nodes: TwoNodes, on_one_node: object) -> dict[str, str]:
    nodes.join("b")
    return ask(nodes, CASES)


@pytest.mark.integration
def test_a_cluster_of_one_node_shares_everything_and_is_not_asked(on_one_node: tuple[dict[str, str], bool]) -> None:
    outcomes, was_written_to = on_one_node
    assert set(outcomes.values()) == {"shared"}
    assert not was_written_to


@pytest.mark.integration
@pytest.mark.parametrize("case", CASES)
def test_each_node_must_see_what_the_driver_sees(on_two_nodes: dict[str, str], case: str) -> None:
    if case not in REFUSED:
        assert on_two_nodes[case] == "shared"
        return
    start, _, end = on_two_nodes[case].partition(": node 10.77.0.2 (")
    assert start == f"InputError: {REFUSED[case]}"
    assert end.endswith(
        ") of the Ray cluster does not share it; use s3://, or mount one file system there on every node"
    )


@pytest.mark.integration
def test_nothing_is_left_in_the_root(on_two_nodes: object, nodes: TwoNodes) -> None:
    for root in ("SHARED/root", "a/root", "b/root"):
        assert list((nodes.home / root).iterdir()) == []


@pytest.mark.integration
def test_a_job_ends_as_bad_input(on_two_nodes: object, nodes: TwoNodes) -> None:
    spec = make_spec(root="/mnt/job", dataset__source=f"{nodes.home}/SHARED/images")
    inside = nodes.home / "a" / "job"
    objects.write(f"{inside}{spec.uri.removeprefix('/mnt/job')}", spec.model_dump_json().encode())
    process = nodes.run(sys.executable, "-m", "ray_jobs.preprocess", "--spec", spec.uri)
    assert process.returncode == 2, process.stdout + process.stderr
    assert "root /mnt/job: node 10.77.0.2 (" in process.stdout
    assert "bad-input" in (inside / spec.run_uri.removeprefix("/mnt/job/") / "failure.json").read_text()


@pytest.mark.integration
def test_a_node_that_does_not_answer_is_trouble_and_named(on_two_nodes: object, nodes: TwoNodes) -> None:
    nodes.send("b", signal.SIGSTOP)
    try:
        outcomes = ask(nodes, {"stopped": CASES["everything is shared"]}, seconds=5)
    finally:
        nodes.send("b", signal.SIGCONT)
    assert outcomes["stopped"].startswith("RetryableError: node 10.77.0.2 ("), outcomes
    assert list((nodes.home / "SHARED" / "root").iterdir()) == []


def test_a_process_without_a_cluster_does_not_join_one(tmp_path: Path) -> None:
    """Ray's functions would start a cluster, or wait for one whose address a killed head has left."""
    require_shared(make_spec(root=str(tmp_path)))
    assert not ray.is_initialized()


LATER: dict[str, Any] = {
    "makes a part": lambda uri: make_part({"name": "part-00000"}, None, uri, Preprocess()),  # type: ignore[arg-type]
    "reads a part": lambda uri: parts.read(uri, "part-00000"),
    "reads a column": lambda uri: parts.read_columns(uri, "part-00000", ["image_id"]),
}


@pytest.mark.parametrize("work", LATER)
def test_a_node_that_joins_later_without_the_root_is_named(tmp_path: Path, work: str) -> None:
    with pytest.raises(InputError, match=r"golden(/x)?: no such directory on node \S+; use s3://, or mount"):
        LATER[work](f"{tmp_path}/golden/x")


@pytest.mark.parametrize("change", ["none", "gone", "shorter", "a file gone", "another nonce", "no nonce"])
def test_what_a_node_must_see(tmp_path: Path, change: str) -> None:
    objects.write(f"{tmp_path}/it/model/weights", b"12345")
    objects.write(f"{tmp_path}/it/nonce", b"nonce")
    folder = Folder("root", f"{tmp_path}/it/model", (("/weights", 5),), (f"{tmp_path}/it/nonce", b"nonce"))
    assert folder.is_here()
    {
        "none": lambda: None,
        "gone": lambda: shutil.rmtree(f"{tmp_path}/it/model"),
        "shorter": lambda: objects.write(f"{tmp_path}/it/model/weights", b"1234"),
        "a file gone": lambda: objects.delete(f"{tmp_path}/it/model/weights"),
        "another nonce": lambda: objects.write(f"{tmp_path}/it/nonce", b"other"),
        "no nonce": lambda: objects.delete(f"{tmp_path}/it/nonce"),
    }[change]()
    assert folder.is_here() is (change == "none")
