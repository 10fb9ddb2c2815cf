from datetime import date
from pathlib import Path
from typing import Any

import pytest
from assay_airflow import fingerprint_cache, router
from assay_airflow.known_checkpoints import KnownCheckpoint, KnownCheckpoints
from assay_airflow.listings import list_checkpoint
from specs import adapter_in, checkpoint_in, record, spec_in

from ray_jobs.checkpoints import files, fingerprints, inspect
from ray_jobs.checkpoints.former_fingerprints import find_former_fingerprint
from ray_jobs.contract.ids import digest
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.storage import objects, records

TODAY = date(2026, 11, 23)


def asked(folder: Path, runs: dict[str, str] | None = None, retry_failed: bool = True) -> list[str]:
    """Ids of the runs that would be triggered for the checkpoints in a folder, given the states of those that are."""
    runs = runs or {}

    def count(run_ids: list[str], states: list[str] | None) -> int:
        return sum(name in runs and (states is None or runs[name] in states) for name in run_ids)

    waiting = router.iter_unvalidated(str(folder / "root"), "small", str(folder / "in"))
    return [
        request["trigger_run_id"] for request in router.build_requests(waiting, "small", count, retry_failed, TODAY)
    ]


def run_of(folder: Path, name: str) -> str:
    return f"router__small__{inspect.resolve(str(folder / 'in' / name)).folder}"


@pytest.fixture
def arrived(tmp_path: Path) -> Path:
    for name in ("step-1000", "step-200"):
        checkpoint_in(tmp_path / "in" / name, name.encode())
    return tmp_path


def test_every_whole_checkpoint_is_asked_for_in_order_of_its_step(arrived: Path) -> None:
    (checkpoint_in(arrived / "in" / "step-300") / "model.safetensors").unlink()
    (arrived / "in" / ".trash").mkdir()
    assert asked(arrived) == [run_of(arrived, "step-200"), run_of(arrived, "step-1000")]


def test_what_is_asked_for_is_a_run_of_the_dag(arrived: Path) -> None:
    waiting = router.iter_unvalidated(str(arrived / "root"), "small", str(arrived / "in"))
    first, last = router.build_requests(waiting, "small", lambda run_ids, states: 0, True, TODAY)
    then = f"{arrived}/in/step-1000"
    assert first["conf"] == {"checkpoint": f"{arrived}/in/step-200", "suite": "small", "following": then}
    assert last["conf"] == {"checkpoint": then, "suite": "small"}


def publish(folder: Path, name: str) -> None:
    found: Checkpoint = inspect.resolve(str(folder / "in" / name))
    spec = spec_in(folder / "root").model_copy(update={"checkpoint": found})
    records.publish(str(folder / "root"), record(spec, "FAIL"))


def test_a_checkpoint_with_a_record_is_done_until_it_is_overwritten(arrived: Path) -> None:
    publish(arrived, "step-200")
    assert asked(arrived) == [run_of(arrived, "step-1000")]
    checkpoint_in(arrived / "in" / "step-200", b"other weights")
    assert asked(arrived) == [run_of(arrived, "step-200"), run_of(arrived, "step-1000")]


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_run_under_way_is_not_asked_for_twice(arrived: Path, state: str) -> None:
    assert asked(arrived, {run_of(arrived, "step-200"): state}) == [run_of(arrived, "step-1000")]


def test_a_run_that_failed_is_tried_again_by_the_nightly_pass_and_by_arrivals(arrived: Path) -> None:
    failed = {run_of(arrived, "step-200"): "failed"}
    again = f"{run_of(arrived, 'step-200')}__retry-20261123"
    assert asked(arrived, failed, retry_failed=False) == [f"{again}T00", run_of(arrived, "step-1000")]
    assert asked(arrived, failed) == [again, run_of(arrived, "step-1000")]


@pytest.mark.parametrize("state", ["running", "failed"])
def test_one_retry_a_night(arrived: Path, state: str) -> None:
    first = run_of(arrived, "step-200")
    assert asked(arrived, {first: "failed", f"{first}__retry-20261123": state}) == [run_of(arrived, "step-1000")]


def test_a_retry_of_last_night_that_still_runs_is_left_alone(arrived: Path) -> None:
    first = run_of(arrived, "step-200")
    assert asked(arrived, {first: "failed", f"{first}__retry-20261122": "running"}) == [run_of(arrived, "step-1000")]


def test_an_empty_or_missing_folder_asks_for_nothing(tmp_path: Path) -> None:
    assert asked(tmp_path) == []


@pytest.mark.parametrize(
    "names",
    [["step-2", "step-10"], ["a", "b"], ["1-a", "1-b", "2"], ["epoch-1-step-9", "epoch-1-step-10", "epoch-2-step-1"]],
)
def test_numbers_in_names_count_as_numbers(tmp_path: Path, names: list[str]) -> None:
    for name in reversed(names):
        (tmp_path / name).mkdir()
    assert router.list_names(str(tmp_path)) == names


def without_files(found: Checkpoint) -> Checkpoint:
    base = found.base and without_files(found.base)
    return found.model_copy(update={"files": (), "base": base})


def test_weights_are_hashed_once(arrived: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri, root = f"{arrived}/in/step-200", str(arrived / "root")
    first = fingerprint_cache.resolve(root, uri)
    assert first == without_files(inspect.resolve(uri))
    hashed: list[str] = []

    def named(uri: str, base: Any) -> Checkpoint:
        hashed.append(uri)
        return first.model_copy(update={"fingerprint": "new"})

    monkeypatch.setattr(fingerprints, "with_fingerprint", named)
    assert fingerprint_cache.resolve(root, uri) == first
    checkpoint_in(arrived / "in" / "step-200", b"other weights")
    assert fingerprint_cache.resolve(root, uri).fingerprint == "new"
    assert hashed == [uri]


@pytest.mark.parametrize("is_kept_by", ["the listing of its run", "its own listing", "both"])
@pytest.mark.parametrize("has_runs", [False, True], ids=["without runs", "with runs"])
def test_a_checkpoint_with_notes_that_an_earlier_version_knew_is_asked_for_as_plan_knows_it(
    arrived: Path, has_runs: bool, is_kept_by: str
) -> None:
    uri, root = f"{arrived}/in/step-200", str(arrived / "root")
    (arrived / "in" / "step-200" / "args.json").write_text("{}")  # as ms-swift leaves it
    found, former = inspect.resolve(uri), fingerprints.compute_former_fingerprint(uri)
    assert former
    old = found.model_copy(update={"fingerprint": former, "files": ()})
    if is_kept_by != "the listing of its run":
        state = [uri, [(entry.key, entry.size, entry.version) for entry in files.list_files(uri)]]
        objects.write(f"{root}/fingerprints/{digest(*state)}", former.encode())
    if is_kept_by != "its own listing":
        known = KnownCheckpoints(root, f"{arrived}/in")
        known.put("step-200", KnownCheckpoint(listing=list_checkpoint(uri).digest, checkpoint=old))
        known.save()
    if has_runs:
        objects.write(f"{root}/runs/{old.folder}/r/spec.json", b"{}")
    planned = find_former_fingerprint(root, found).get("fingerprint", found.fingerprint)
    assert planned == (former if has_runs else found.fingerprint)
    for _ in range(2):
        waiting = router.iter_unvalidated(root, "small", f"{arrived}/in")
        assert [one.fingerprint for one in waiting if one.uri == uri] == [planned]


@pytest.fixture
def adapted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A training run of adapters: one names its base by path, one by a hub name."""
    base = checkpoint_in(tmp_path / "base")
    adapter_in(tmp_path / "in" / "step-20", str(base))
    adapter_in(tmp_path / "in" / "step-100", "org/base")
    (tmp_path / "suites").mkdir()
    monkeypatch.setenv("ASSAY_SUITES", str(tmp_path / "suites"))
    monkeypatch.setenv("ASSAY_BASES", str(tmp_path))
    return tmp_path


def suite_with(folder: Path, engine: str) -> None:
    (folder / "suites" / "small.yaml").write_text(f"name: small\ndataset: {{source: x}}\nengine: {engine}\n")


def test_adapters_are_asked_for_over_their_base_or_the_suites(adapted: Path) -> None:
    suite_with(adapted, "{base_model: ../base}")
    base = str(adapted / "base")
    folders = [inspect.resolve(str(adapted / "in" / name), base).folder for name in ("step-20", "step-100")]
    assert asked(adapted) == [f"router__small__{folder}" for folder in folders]
    checkpoint_in(adapted / "base", b"another base")
    assert not set(asked(adapted)) & {f"router__small__{folder}" for folder in folders}


def test_an_adapter_whose_base_nobody_names_is_passed_over(adapted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite_with(adapted, "{}")
    assert len(asked(adapted)) == 1
    assert "step-100: an adapter, and its base model 'org/base' is neither a URI nor" in capsys.readouterr().out


def test_neither_an_adapter_nor_its_base_is_hashed_twice(adapted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, uri = str(adapted / "root"), f"{adapted}/in/step-20"
    first = fingerprint_cache.resolve(root, uri)
    assert first == without_files(inspect.resolve(uri))
    monkeypatch.setattr(fingerprints, "with_fingerprint", lambda *_: pytest.fail("hashed again"))
    assert fingerprint_cache.resolve(root, uri) == first


def test_an_adapter_is_whole_to_the_watcher(adapted: Path) -> None:
    assert set(router.list_whole(str(adapted / "in"), {})) == {"step-20", "step-100"}
    (adapted / "in" / "step-20" / "adapter_model.safetensors").unlink()
    assert set(router.list_whole(str(adapted / "in"), {})) == {"step-100"}
