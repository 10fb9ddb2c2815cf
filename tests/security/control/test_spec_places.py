"""A spec is valid only at its own place: Airflow and the jobs refuse a spec that was changed or moved."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from assay_airflow import audit_selection, tasks
from assay_airflow.operators.ray_job import RayJobOperator
from assay_airflow.sensors.golden_ready import GoldenReadySensor
from specs import make_spec, write_checkpoint

from ray_jobs.contract.spec import Checkpoint, Spec
from ray_jobs.contract.stored_model import NewerSchema
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import objects, specs, uris

OTHER = {"uri": "/models/step-2", "name": "step-2", "fingerprint": "0" * 16, "base": None}


def write_changed(spec: Spec, **changes: Any) -> str:
    """Change the spec at its place; returns its URI."""
    objects.write(spec.uri, json.dumps(json.loads(spec.model_dump_json()) | changes).encode())
    return spec.uri


def copy_to(spec: Spec, uri: str) -> str:
    objects.write(uri, objects.read(spec.uri))
    return uri


def link_run(spec: Spec) -> str:
    """The folder of another run, a link to this run's."""
    other = Path(spec.root, "runs", "step-9-99999999", spec.run_id)
    other.parent.mkdir(parents=True)
    other.symlink_to(spec.run_uri)
    return f"{other}/spec.json"


def link_spec(spec: Spec) -> str:
    """The spec of another run, a link to this run's."""
    other = Path(spec.root, "runs", "step-9-99999999", "0" * 16, "spec.json")
    other.parent.mkdir(parents=True)
    other.symlink_to(spec.uri)
    return str(other)


def write_large(spec: Spec) -> str:
    with Path(spec.uri).open("ab") as file:
        file.truncate(specs.SPEC_BYTES + 1)
    return spec.uri


ATTACKS: dict[str, Callable[[Spec], str]] = {
    "another checkpoint": lambda spec: write_changed(spec, checkpoint=OTHER),
    "another fingerprint": lambda spec: write_changed(
        spec, checkpoint=spec.checkpoint.model_dump() | {"fingerprint": "e" * 16}
    ),
    "another root": lambda spec: write_changed(spec, root="/srv/elsewhere"),
    "a root on S3": lambda spec: write_changed(spec, root="s3://bucket/elsewhere"),
    "the root of the system": lambda spec: write_changed(spec, root="/"),
    "an empty root": lambda spec: write_changed(spec, root=""),
    "a root beside": lambda spec: write_changed(spec, root=f"{spec.root}-2"),
    "a root above": lambda spec: write_changed(spec, root=str(Path(spec.root).parent)),
    "another revision": lambda spec: write_changed(spec, source_revision="r2"),
    "another force": lambda spec: write_changed(spec, force="again"),
    "synonyms": lambda spec: write_changed(spec, synonyms={"cat": ["dog"]}),
    "own code": lambda spec: write_changed(spec, own_metrics={"polite": "METRIC = 1"}),
    "a baseline": lambda spec: write_changed(
        spec, baseline={"run_id": "a" * 16, "run_uri": "/r", "caption_id": "b" * 16, "checkpoint": OTHER}
    ),
    "another prompt": lambda spec: write_changed(
        spec, suite=json.loads(spec.suite.model_dump_json()) | {"caption": {"prompt": "say PASS"}}
    ),
    "a copy in another run": lambda spec: copy_to(spec, f"{spec.root}/runs/step-9-99999999/{spec.run_id}/spec.json"),
    "a copy below another root": lambda spec: copy_to(spec, spec.uri.replace("/root/", "/other/")),
    "a copy above": lambda spec: copy_to(spec, f"{spec.root}/spec.json"),
    "a copy below": lambda spec: copy_to(spec, f"{spec.run_uri}/x/spec.json"),
    "a copy for another request": lambda spec: copy_to(spec, f"{spec.run_uri}/spec-again.json"),
    "a folder that is a link": link_run,
    "a file that is a link": link_spec,
    "far too large": write_large,
}  # fmt: skip
READERS: dict[str, Callable[[str], Any]] = {
    "load": specs.load_spec,
    "operator": lambda uri: RayJobOperator(
        task_id="x", stage="caption", spec_uri=uri, job_timeout=timedelta(hours=1)
    )._run({"ti": None}),  # type: ignore[typeddict-item]
    "sensor": lambda uri: GoldenReadySensor(task_id="x", patience=timedelta(hours=1), spec_uri=uri).trigger(0.0),
    "publish": tasks.publish,
    "conclude": tasks.read_record,
}  # fmt: skip


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    return make_spec(tmp_path / "root")


def list_files_below(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.stat().st_size < 2**20
    }


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
@pytest.mark.parametrize("reader", READERS.values(), ids=READERS.keys())
def test_a_spec_from_another_place_is_refused_in_one_line(
    spec: Spec, attack: Callable[[Spec], str], reader: Callable[[str], Any], tmp_path: Path
) -> None:
    uri = attack(spec)
    before = list_files_below(tmp_path)
    with pytest.raises(InputError) as caught:
        reader(uri)
    assert str(caught.value).isprintable()
    fault = "more than the 67108864" if attack is write_large else "not here; plan it again with this version"
    assert fault in str(caught.value)
    assert list_files_below(tmp_path) == before


@pytest.mark.parametrize("attack", ["another checkpoint", "a root beside", "synonyms", "far too large"])
def test_an_audit_passes_over_a_spec_from_another_place(
    spec: Spec, attack: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ATTACKS[attack](spec)
    assert audit_selection._load_readable_spec(spec.run_uri) is None
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("passed over: spec ")


def test_one_directory_has_many_names(spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(spec.root)
    below = spec.uri.removeprefix(f"{spec.root}/")
    names = (
        "root",
        "./root",
        "root/",
        "link",
        "root/../root",
        f"file://{spec.root}",
        "file://root",
        f"{tmp_path}//root",
    )
    for root in names:
        assert specs.load_spec(f"{root}/{below}") == spec, root


@pytest.mark.parametrize("root", ["link", "file://{root}/../root", "x/../root"])
def test_a_spec_that_was_planned_below_another_name_of_the_root_is_read(root: str, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "root")
    (tmp_path / "x").mkdir()
    spec = make_spec(tmp_path / "root", write=False)
    root_name = uris.make_absolute(root.format(root=tmp_path / "root") if "://" in root else str(tmp_path / root))
    spec = spec.model_copy(update={"root": root_name})
    objects.write(spec.uri, spec.model_dump_json().encode())
    for uri in (spec.uri, spec.uri.replace(root_name, str(tmp_path / "root"))):
        assert specs.load_spec(uri) == spec


@pytest.mark.parametrize("root", ["s3://bucket/a", "s3://bucket"])
def test_on_s3_a_spec_under_another_root_is_refused(root: str) -> None:
    spec = make_spec(Path("/x"), write=False).model_copy(update={"root": root})
    specs.require_own_place(spec, spec.uri)
    for uri in (
        spec.uri.replace(root, "s3://other"),
        spec.uri.replace(root, f"{root}/b"),
        spec.uri.replace(root, "/b"),
    ):
        with pytest.raises(InputError, match="not here; plan it again"):
            specs.require_own_place(spec, uri)
    with pytest.raises(InputError, match="not here; plan it again"):
        specs.require_own_place(spec.model_copy(update={"root": "/b"}), spec.uri)


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    suites = tmp_path / "suites"
    (suites / "images").mkdir(parents=True)
    (suites / "images" / "a.jpg").write_bytes(b"x")
    (suites / "small.yaml").write_text("name: small\ndataset: {source: images}\n")
    monkeypatch.setenv("ASSAY_SUITES", str(suites))
    monkeypatch.setenv("ASSAY_ROOT", str(tmp_path / "root"))
    checkpoint = str(write_checkpoint(tmp_path / "step-1"))
    return {"suite": "small", "checkpoint": checkpoint, "baseline": None, "force": False, "following": None}


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("schema", [2, 99, "1.1", None])
def test_a_newer_spec_is_not_planned_over(params: dict[str, Any], force: bool, schema: Any) -> None:
    params |= {"force": force}
    uri = tasks.plan(params, "manual__1")
    newer = json.dumps(json.loads(objects.read(uri)) | {"schema": schema, "added": 1}).encode()
    objects.write(uri, newer)
    for call in (lambda: tasks.plan(params, "manual__1"), lambda: specs.load_spec(uri)):
        with pytest.raises(NewerSchema, match="upgrade this plane") as caught:
            call()
        assert str(caught.value).isprintable()
    assert objects.read(uri) == newer


@pytest.mark.parametrize("content", [b"", b"{}", b"<html>", b"\xff", b'{"schema": 1}'])
def test_a_file_that_is_no_spec_is_overwritten_by_plan(params: dict[str, Any], content: bytes) -> None:
    uri = tasks.plan(params, "manual__1")
    good = objects.read(uri)
    objects.write(uri, content)
    assert tasks.plan(params, "manual__1") == uri
    assert objects.read(uri) == good
    assert specs.load_spec(uri).checkpoint == Checkpoint.model_validate(json.loads(good)["checkpoint"])
