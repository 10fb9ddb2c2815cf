from datetime import date
from pathlib import Path
from typing import Any

import pytest
from assay_airflow import fingerprint_cache, router
from assay_airflow.known_checkpoints import KnownCheckpoint, KnownCheckpoints
from assay_airflow.listings import list_checkpoint
from specs import make_record, make_spec, write_adapter, write_checkpoint

from ray_jobs.checkpoints import files, fingerprints, inspect
from ray_jobs.checkpoints.former_fingerprints import find_former_fingerprint
from ray_jobs.contract.ids import digest
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.storage import objects, records

TODAY = date(2026, 11, 23)


def list_requested_runs(folder: Path, runs: dict[str, str] | None = None, retry_failed: bool = True) -> list[str]:
    """Ids of the runs that the router requests for the checkpoints in a folder, given the states of earlier runs."""
    runs = runs or {}

    def count(run_ids: list[str], states: list[str] | None) -> int:
        return sum(name in runs and (states is None or runs[name] in states) for name in run_ids)

    checkpoints = router.iter_unvalidated(str(folder / "root"), "small", str(folder / "in"))
    return [
        request["trigger_run_id"] for request in router.build_requests(checkpoints, "small", count, retry_failed, TODAY)
    ]


def run_id_of(folder: Path, name: str) -> str:
    return f"router__small__{inspect.resolve(str(folder / 'in' / name)).folder}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("step-1000", "step-200"):
        write_checkpoint(tmp_path / "in" / name, name.encode())
    return tmp_path


def test_a_run_is_requested_for_every_whole_checkpoint_in_order_of_its_step(folder: Path) -> None:
    (write_checkpoint(folder / "in" / "step-300") / "model.safetensors").unlink()
    (folder / "in" / ".trash").mkdir()
    assert list_requested_runs(folder) == [run_id_of(folder, "step-200"), run_id_of(folder, "step-1000")]


def test_a_request_holds_the_conf_of_a_run(folder: Path) -> None:
    checkpoints = router.iter_unvalidated(str(folder / "root"), "small", str(folder / "in"))
    first, last = router.build_requests(checkpoints, "small", lambda run_ids, states: 0, True, TODAY)
    next_uri = f"{folder}/in/step-1000"
    assert first["conf"] == {"checkpoint": f"{folder}/in/step-200", "suite": "small", "following": next_uri}
    assert last["conf"] == {"checkpoint": next_uri, "suite": "small"}


def publish(folder: Path, name: str) -> None:
    checkpoint: Checkpoint = inspect.resolve(str(folder / "in" / name))
    spec = make_spec(folder / "root").model_copy(update={"checkpoint": checkpoint})
    records.publish(str(folder / "root"), make_record(spec, "FAIL"))


def test_a_checkpoint_with_a_record_is_done_until_it_is_overwritten(folder: Path) -> None:
    publish(folder, "step-200")
    assert list_requested_runs(folder) == [run_id_of(folder, "step-1000")]
    write_checkpoint(folder / "in" / "step-200", b"other weights")
    assert list_requested_runs(folder) == [run_id_of(folder, "step-200"), run_id_of(folder, "step-1000")]


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_run_under_way_is_not_requested_again(folder: Path, state: str) -> None:
    assert list_requested_runs(folder, {run_id_of(folder, "step-200"): state}) == [run_id_of(folder, "step-1000")]


def test_a_failed_run_is_requested_again_by_the_nightly_pass_and_by_arrivals(folder: Path) -> None:
    failed = {run_id_of(folder, "step-200"): "failed"}
    retry = f"{run_id_of(folder, 'step-200')}__retry-20261123"
    assert list_requested_runs(folder, failed, retry_failed=False) == [f"{retry}T00", run_id_of(folder, "step-1000")]
    assert list_requested_runs(folder, failed) == [retry, run_id_of(folder, "step-1000")]


@pytest.mark.parametrize("state", ["running", "failed"])
def test_there_is_one_retry_per_night(folder: Path, state: str) -> None:
    first = run_id_of(folder, "step-200")
    assert list_requested_runs(folder, {first: "failed", f"{first}__retry-20261123": state}) == [
        run_id_of(folder, "step-1000")
    ]


def test_a_retry_of_last_night_that_still_runs_is_left_alone(folder: Path) -> None:
    first = run_id_of(folder, "step-200")
    assert list_requested_runs(folder, {first: "failed", f"{first}__retry-20261122": "running"}) == [
        run_id_of(folder, "step-1000")
    ]


def test_an_empty_folder_requests_nothing(tmp_path: Path) -> None:
    assert list_requested_runs(tmp_path) == []


@pytest.mark.parametrize(
    "names",
    [["step-2", "step-10"], ["a", "b"], ["1-a", "1-b", "2"], ["epoch-1-step-9", "epoch-1-step-10", "epoch-2-step-1"]],
)
def test_names_are_sorted_by_their_numbers(tmp_path: Path, names: list[str]) -> None:
    for name in reversed(names):
        (tmp_path / name).mkdir()
    assert router.list_names(str(tmp_path)) == names


def without_files(checkpoint: Checkpoint) -> Checkpoint:
    base = checkpoint.base and without_files(checkpoint.base)
    return checkpoint.model_copy(update={"files": (), "base": base})


def test_weights_are_hashed_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri, root = f"{folder}/in/step-200", str(folder / "root")
    first = fingerprint_cache.resolve(root, uri)
    assert first == without_files(inspect.resolve(uri))
    hashed_uris: list[str] = []

    def resolve_again(uri: str, base: Any) -> Checkpoint:
        hashed_uris.append(uri)
        return first.model_copy(update={"fingerprint": "new"})

    monkeypatch.setattr(fingerprints, "with_fingerprint", resolve_again)
    assert fingerprint_cache.resolve(root, uri) == first
    write_checkpoint(folder / "in" / "step-200", b"other weights")
    assert fingerprint_cache.resolve(root, uri).fingerprint == "new"
    assert hashed_uris == [uri]


@pytest.mark.parametrize("is_kept_by", ["the listing of its run", "its own listing", "both"])
@pytest.mark.parametrize("has_runs", [False, True], ids=["without runs", "with runs"])
def test_a_checkpoint_keeps_the_fingerprint_that_an_earlier_version_gave_it(
    folder: Path, has_runs: bool, is_kept_by: str
) -> None:
    uri, root = f"{folder}/in/step-200", str(folder / "root")
    (folder / "in" / "step-200" / "args.json").write_text("{}")  # as ms-swift leaves it
    current, former = inspect.resolve(uri), fingerprints.compute_former_fingerprint(uri)
    assert former
    old = current.model_copy(update={"fingerprint": former, "files": ()})
    if is_kept_by != "the listing of its run":
        state = [uri, [(entry.key, entry.size, entry.version) for entry in files.list_files(uri)]]
        objects.write(f"{root}/fingerprints/{digest(*state)}", former.encode())
    if is_kept_by != "its own listing":
        known_checkpoints = KnownCheckpoints(root, f"{folder}/in")
        known_checkpoints.put("step-200", KnownCheckpoint(listing=list_checkpoint(uri).digest, checkpoint=old))
        known_checkpoints.save()
    if has_runs:
        objects.write(f"{root}/runs/{old.folder}/r/spec.json", b"{}")
    expected = find_former_fingerprint(root, current).get("fingerprint", current.fingerprint)
    assert expected == (former if has_runs else current.fingerprint)
    for _ in range(2):
        checkpoints = router.iter_unvalidated(root, "small", f"{folder}/in")
        assert [candidate.fingerprint for candidate in checkpoints if candidate.uri == uri] == [expected]


@pytest.fixture
def adapters_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A training run of adapters: one names its base by path, one by a hub name."""
    base = write_checkpoint(tmp_path / "base")
    write_adapter(tmp_path / "in" / "step-20", str(base))
    write_adapter(tmp_path / "in" / "step-100", "org/base")
    (tmp_path / "suites").mkdir()
    monkeypatch.setenv("ASSAY_SUITES", str(tmp_path / "suites"))
    monkeypatch.setenv("ASSAY_BASES", str(tmp_path))
    return tmp_path


def suite_with(folder: Path, engine: str) -> None:
    (folder / "suites" / "small.yaml").write_text(f"name: small\ndataset: {{source: x}}\nengine: {engine}\n")


def test_adapters_are_requested_with_their_base_or_the_suites_base(adapters_folder: Path) -> None:
    suite_with(adapters_folder, "{base_model: ../base}")
    base = str(adapters_folder / "base")
    folders = [inspect.resolve(str(adapters_folder / "in" / name), base).folder for name in ("step-20", "step-100")]
    assert list_requested_runs(adapters_folder) == [f"router__small__{folder}" for folder in folders]
    write_checkpoint(adapters_folder / "base", b"another base")
    assert not set(list_requested_runs(adapters_folder)) & {f"router__small__{folder}" for folder in folders}


def test_an_adapter_without_a_known_base_is_passed_over(
    adapters_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite_with(adapters_folder, "{}")
    assert len(list_requested_runs(adapters_folder)) == 1
    assert "step-100: an adapter, and its base model 'org/base' is neither a URI nor" in capsys.readouterr().out


def test_neither_an_adapter_nor_its_base_is_hashed_twice(
    adapters_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, uri = str(adapters_folder / "root"), f"{adapters_folder}/in/step-20"
    first = fingerprint_cache.resolve(root, uri)
    assert first == without_files(inspect.resolve(uri))
    monkeypatch.setattr(fingerprints, "with_fingerprint", lambda *_: pytest.fail("hashed again"))
    assert fingerprint_cache.resolve(root, uri) == first


def test_the_watcher_lists_an_adapter_as_whole(adapters_folder: Path) -> None:
    assert set(router.list_whole(str(adapters_folder / "in"), {})) == {"step-20", "step-100"}
    (adapters_folder / "in" / "step-20" / "adapter_model.safetensors").unlink()
    assert set(router.list_whole(str(adapters_folder / "in"), {})) == {"step-100"}


def test_a_pass_names_only_some_of_many_checkpoints_with_a_record(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every pass has every known checkpoint, so its log would grow with each night."""
    monkeypatch.setattr(router, "MAX_NAMED", 1)
    for name in ("step-1000", "step-200"):
        publish(folder, name)
    result = router.run_pass(str(folder / "root"), "small", str(folder / "in"), lambda *_: 0, "arrival", TODAY)
    assert (result.recorded, result.requests) == (2, [])
    lines = [line for line in capsys.readouterr().out.splitlines() if "a record" in line]
    assert len(lines) == 2
    assert lines[0].startswith("has a record: step-200 ")
    assert lines[1] == "1 more have a record"


@pytest.mark.parametrize(
    ("names", "rest", "line"),
    [
        ([], False, "ROUTER: 0 to validate · 4 validated before · 1 passed over"),
        (["step-1"], False, "ROUTER: 1 to validate (step-1) · 4 validated before · 1 passed over"),
        (
            ["step-1", "step-2", "step-30"],
            True,
            "ROUTER: 3 to validate (step-1 to step-30), the rest in the next pass · 4 validated before · 1 passed over",
        ),
    ],
)
def test_the_note_of_a_pass_says_what_it_found(names: list[str], rest: bool, line: str) -> None:
    requests = [{"conf": {"checkpoint": f"s3://c/{name}"}} for name in names]
    result = router.Pass(requests, {"step-9": "no weights yet"}, recorded=4, rest=rest)
    assert result.note() == line
    assert result.summary()["note"] == line
