"""A suite that loses its baseline to an upgrade of Assay reports it; a suite that a person changed starts a new
series."""

from pathlib import Path
from typing import Any

import pytest
from release_corpus import CORPUS, restore
from release_corpus import RUNS as FOLDERS
from samples import make_record

from ray_jobs.contract import artifacts
from ray_jobs.contract import spec as contract
from ray_jobs.contract.artifacts import Verdict
from ray_jobs.contract.spec import Checkpoint, Spec
from ray_jobs.contract.stored_model import NewerSchema
from ray_jobs.gate import run as gating
from ray_jobs.gate.no_baseline import ACCEPTED, explain_missing_baseline
from ray_jobs.planning import predecessor
from ray_jobs.storage import baselines, index, json_files, objects, records

RUNS = list(FOLDERS.values())
NIGHT = {"name": "step-0900", "uri": "/models/step-0900", "fingerprint": "9" * 16}
LAST = "step-0800-again"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The corpus of e0c6db2."""
    return restore(tmp_path, monkeypatch)


@pytest.fixture(params=["CAPTION_VERSION", "PREPROCESS_VERSION"])
def upgrade(root: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version after that of the corpus, which `root` sets."""
    monkeypatch.setattr(contract, request.param, getattr(contract, request.param) + 1)


def first(root: Path) -> Spec:
    return json_files.load(Spec, f"{root}/{RUNS[0]}/spec.json")


def last_accepted(root: Path) -> Checkpoint:
    (run,) = (run for run in RUNS if f"/{LAST}-" in run)
    return json_files.load(Spec, f"{root}/{run}/spec.json").checkpoint


def plan_with_predecessor(
    root: Path, checkpoint: Checkpoint | None = None, baseline_setting: str = "last-accepted", **changes: Any
) -> Spec:
    """The spec of another run of the corpus' suite as `plan` resolves it, with sections of its suite changed."""
    old = first(root)
    sections = {name: getattr(old.suite, name).model_copy(update=change) for name, change in changes.items()}
    gate = sections.get("gate", old.suite.gate).model_copy(update={"baseline": baseline_setting})
    spec = old.model_copy(
        update={
            "checkpoint": checkpoint or Checkpoint(**NIGHT),
            "suite": old.suite.model_copy(update=sections | {"gate": gate}),
            "baseline": None,
            "anchor": None,
        }
    )
    spec = spec.model_copy(update={"baseline": baselines.find_baseline(spec, baseline_setting)})
    spec = spec.model_copy(update={"anchor": baselines.find_anchor(spec, gate.anchor)})
    spec = spec.model_copy(update={"predecessor": predecessor.find_predecessor(spec, baseline_setting)})
    objects.write(spec.uri, spec.model_dump_json().encode())
    return spec


def publish(spec: Spec, outcome: str) -> Spec:
    records.publish(spec.root, make_record(spec, outcome))
    return spec


def spoil_specs(root: Path, content: str) -> None:
    for file in root.glob("runs/*/*/spec.json"):
        file.write_text(content)


@pytest.mark.usefixtures("upgrade")
@pytest.mark.parametrize("baseline_setting", ["last-accepted", "previous"])
def test_an_upgrade_takes_the_baseline_and_the_reason_names_the_remedy(root: Path, baseline_setting: str) -> None:
    spec = plan_with_predecessor(root, baseline_setting=baseline_setting)
    assert spec.has_lost_baseline
    explanation = explain_missing_baseline(spec)
    assert explanation.is_lost
    assert explanation.reason == (
        "nothing of this series to compare with: an upgrade of Assay started a new series of suite demo; validate "
        f"{LAST} ({last_accepted(root).uri}) first, or set gate.baseline: none"
    )


@pytest.mark.usefixtures("upgrade")
def test_the_last_accepted_checkpoint_is_the_new_first_baseline(root: Path) -> None:
    inconclusive = publish(plan_with_predecessor(root, gate={"anchor": "first"}), "INCONCLUSIVE")
    assert plan_with_predecessor(root, gate={"anchor": "first"}).run_id == inconclusive.run_id, (
        "until then the answer stays"
    )
    rescue = publish(plan_with_predecessor(root, last_accepted(root), gate={"anchor": "first"}), "PASS")
    assert (rescue.baseline, rescue.predecessor) == (None, None)
    assert explain_missing_baseline(rescue).reason == ACCEPTED
    again = plan_with_predecessor(root, gate={"anchor": "first"})
    assert again.baseline
    assert again.baseline.run_id == rescue.run_id
    assert again.predecessor is None
    assert again.run_id != inconclusive.run_id
    publish(again, "PASS")
    next_night = Checkpoint(uri="/models/step-1000", name="step-1000", fingerprint="a" * 16)
    following = plan_with_predecessor(root, next_night, gate={"anchor": "first"})
    assert (following.baseline and following.baseline.run_id) == again.run_id
    assert (following.anchor and following.anchor.run_id) == rescue.run_id
    assert plan_with_predecessor(root, last_accepted(root), gate={"anchor": "first"}).run_id == rescue.run_id


@pytest.mark.usefixtures("upgrade")
def test_another_accepted_checkpoint_than_the_last_is_not_enough(root: Path) -> None:
    assert plan_with_predecessor(root, first(root).checkpoint).has_lost_baseline


@pytest.mark.usefixtures("upgrade")
def test_a_run_without_a_baseline_begins_the_series(root: Path) -> None:
    accepted_spec = publish(plan_with_predecessor(root, baseline_setting="none"), "PASS")
    assert accepted_spec.predecessor is None
    assert plan_with_predecessor(root).predecessor is None, "its series has an accepted run: its own"
    other = Checkpoint(uri="/models/step-1000", name="step-1000", fingerprint="a" * 16)
    following = plan_with_predecessor(root, other)
    assert (following.baseline and following.baseline.run_id) == accepted_spec.run_id


def first_accepted(root: Path) -> Checkpoint:
    entry = next(
        stored_entry
        for stored_entry in index.list_entries(str(root), first(root).suite.name)
        if stored_entry.outcome == "PASS"
    )
    return json_files.load(Spec, f"{entry.run_uri(str(root))}/spec.json").checkpoint


ANCHORED: dict[str, Any] = {"baseline_setting": "none", "gate": {"anchor": "first"}}


@pytest.mark.usefixtures("upgrade")
def test_an_upgrade_takes_the_anchor_of_a_run_without_a_baseline(root: Path) -> None:
    inconclusive = publish(plan_with_predecessor(root, **ANCHORED), "INCONCLUSIVE")
    assert inconclusive.has_lost_anchor
    explanation = explain_missing_baseline(inconclusive)
    assert explanation.is_lost
    anchor = first_accepted(root)
    assert explanation.reason == (
        "no anchor of this series: an upgrade of Assay started a new series of suite demo; validate "
        f"{anchor.name} ({anchor.uri}) first, or leave gate.anchor out"
    )
    assert plan_with_predecessor(root, **ANCHORED).run_id == inconclusive.run_id, "until then the answer stays"
    rescue = publish(plan_with_predecessor(root, anchor, **ANCHORED), "PASS")
    assert (rescue.anchor, rescue.predecessor) == (None, None)
    again = plan_with_predecessor(root, **ANCHORED)
    assert (again.anchor and again.anchor.run_id) == rescue.run_id
    assert again.predecessor is None
    assert not explain_missing_baseline(again).is_lost


@pytest.mark.usefixtures("upgrade")
def test_to_pass_uncompared_a_suite_leaves_its_anchor_out_too(root: Path) -> None:
    explanation = explain_missing_baseline(plan_with_predecessor(root, gate={"anchor": "first"}))
    assert explanation.reason.endswith(" first, or set gate.baseline: none and leave gate.anchor out")


@pytest.mark.usefixtures("upgrade")
def test_a_baseline_that_is_not_accepted_does_not_stand_for_the_anchor(root: Path) -> None:
    """`previous` takes a run with any verdict, so it exists at once after an upgrade."""
    publish(plan_with_predecessor(root, baseline_setting="none"), "FAIL")
    other = Checkpoint(uri="/models/step-1000", name="step-1000", fingerprint="a" * 16)
    spec = plan_with_predecessor(root, other, baseline_setting="previous", gate={"anchor": "first"})
    assert spec.baseline
    assert spec.has_lost_anchor
    assert not spec.has_lost_baseline
    assert explain_missing_baseline(spec).reason.startswith("no anchor of this series: an upgrade of Assay")


def test_a_new_series_or_no_anchor_is_no_lost_anchor(root: Path) -> None:
    changed_spec = plan_with_predecessor(root, caption={"prompt": "What is it?"}, **ANCHORED)
    assert (changed_spec.predecessor, changed_spec.has_lost_anchor) == (None, False)
    old = first(root)
    suite = old.suite.model_copy(
        update={"name": "new", "gate": old.suite.gate.model_copy(update={"anchor": "first", "baseline": "none"})}
    )
    assert predecessor.find_predecessor(old.model_copy(update={"suite": suite, "anchor": None}), "none") is None


@pytest.mark.usefixtures("upgrade")
def test_a_run_without_its_anchor_that_an_earlier_release_let_pass_keeps_its_id(root: Path) -> None:
    before = plan_with_predecessor(root, **ANCHORED).model_copy(update={"predecessor": None})
    objects.write(before.uri, before.model_dump_json().encode())
    spec = publish(before, "FAIL")
    assert plan_with_predecessor(root, **ANCHORED).run_id == spec.run_id


@pytest.mark.usefixtures("upgrade")
def test_a_gate_that_compares_nothing_loses_nothing(root: Path) -> None:
    assert plan_with_predecessor(root, gate={"metrics": {}}).predecessor is None


CHANGES: dict[str, dict[str, Any]] = {
    "dataset.limit": {"dataset": {"limit": 9}},
    "preprocess.max_pixels": {"preprocess": {"max_pixels": 50176}},
    "caption.prompt": {"caption": {"prompt": "What is it?"}},
    "engine.dtype": {"engine": {"dtype": "bfloat16"}},
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("upgraded", [False, True], ids=["same version", "after an upgrade"])
def test_what_a_person_changed_begins_anew(
    root: Path, name: str, upgraded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if upgraded:
        monkeypatch.setattr(contract, "CAPTION_VERSION", contract.CAPTION_VERSION + 1)
    spec = plan_with_predecessor(root, **CHANGES[name])
    assert not spec.has_lost_baseline
    explanation = explain_missing_baseline(spec)
    assert not explanation.is_lost
    assert explanation.reason == f"{ACCEPTED} because the suite changed after {LAST}: {name}"
    publish(spec, "PASS")
    assert plan_with_predecessor(root, **CHANGES[name]).run_id == spec.run_id


def test_other_files_of_the_dataset_begin_anew(root: Path) -> None:
    old = first(root)
    other = old.model_copy(update={"source_revision": "another", "baseline": None, "checkpoint": Checkpoint(**NIGHT)})
    before = predecessor.find_predecessor(other, "last-accepted")
    assert before
    assert before.changed == ("the files of the dataset",)


@pytest.mark.parametrize("change", [{"engine": {"replicas": 4}}, {"preprocess": {"part_rows": 7}}], ids=str)
@pytest.mark.usefixtures("upgrade")
def test_settings_that_are_only_about_speed_are_no_new_beginning(root: Path, change: dict[str, Any]) -> None:
    assert plan_with_predecessor(root, **change).has_lost_baseline


def test_the_settings_of_an_earlier_series_taken_up_again_after_an_upgrade(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last accepted run belongs to the series of another prompt. The lost series is that of this prompt."""
    publish(plan_with_predecessor(root, caption={"prompt": "What is it?"}), "PASS")
    monkeypatch.setattr(contract, "CAPTION_VERSION", contract.CAPTION_VERSION + 1)
    spec = plan_with_predecessor(root)
    assert spec.has_lost_baseline
    assert spec.predecessor
    assert spec.predecessor.checkpoint == last_accepted(root)


@pytest.mark.usefixtures("upgrade")
def test_specs_that_cannot_be_read_do_not_make_a_pass(root: Path) -> None:
    checkpoint = last_accepted(root)
    spoil_specs(root, "{torn")
    spec = json_files.load(Spec, f"{CORPUS}/{RUNS[0]}/spec.json")
    spec = spec.model_copy(update={"root": str(root), "baseline": None, "checkpoint": Checkpoint(**NIGHT)})
    before = predecessor.find_predecessor(spec, "last-accepted")
    assert before
    assert before.checkpoint is None
    explanation = explain_missing_baseline(spec.model_copy(update={"predecessor": before}))
    assert explanation.is_lost
    assert "cannot be read" in explanation.reason
    assert f"/runs/{checkpoint.folder}/" in explanation.reason
    rescue = spec.model_copy(update={"checkpoint": checkpoint})
    assert predecessor.find_predecessor(rescue, "last-accepted") is None


@pytest.mark.usefixtures("upgrade")
def test_specs_of_a_newer_assay_are_not_guessed_at(root: Path) -> None:
    old = first(root)
    spoil_specs(root, '{"schema": 99}')
    spec = old.model_copy(update={"baseline": None, "checkpoint": Checkpoint(**NIGHT)})
    with pytest.raises(NewerSchema):
        predecessor.find_predecessor(spec, "last-accepted")


def test_the_first_run_of_a_suite_has_no_predecessor(root: Path) -> None:
    old = first(root)
    spec = old.model_copy(update={"suite": old.suite.model_copy(update={"name": "new"}), "baseline": None})
    assert predecessor.find_predecessor(spec, "last-accepted") is None
    assert explain_missing_baseline(spec).reason == ACCEPTED


def test_no_id_depends_on_where_the_predecessor_is_stored(root: Path) -> None:
    spec = plan_with_predecessor(root, caption={"prompt": "What is it?"})
    assert spec.predecessor
    elsewhere = spec.predecessor.model_copy(update={"run_uri": "s3://other/runs/a/b"})
    assert spec.model_copy(update={"predecessor": elsewhere}).run_id == spec.run_id
    assert spec.model_copy(update={"predecessor": None}).run_id != spec.run_id


def test_the_gate_over_kept_scores_says_it(root: Path) -> None:
    """The stored scores of a first run with PASS, judged as if the upgrade had removed its baseline."""
    spec = first(root)
    scores = json_files.load(artifacts.Scores, f"{root}/{RUNS[0]}/scores.json")
    before = contract.Predecessor(run_id="r", run_uri="/root/runs/old/r", checkpoint=Checkpoint(**NIGHT))
    assert gating.run_gate(spec, scores).outcome == "PASS"
    lost_verdict: Verdict = gating.run_gate(_with_predecessor(spec, before), scores)
    assert lost_verdict.outcome == "INCONCLUSIVE"
    alone = spec.suite.gate.model_copy(update={"baseline": "none", "anchor": "first"})
    anchored = spec.model_copy(update={"suite": spec.suite.model_copy(update={"gate": alone})})
    assert gating.run_gate(anchored, scores).outcome == "PASS"
    without = gating.run_gate(_with_predecessor(anchored, before), scores)
    assert (without.outcome, without.reason.partition(":")[0]) == ("INCONCLUSIVE", "no anchor of this series")
    assert lost_verdict.reason.startswith("nothing of this series to compare with: an upgrade of Assay")
    changed_verdict = gating.run_gate(
        _with_predecessor(spec, before.model_copy(update={"changed": ("caption.prompt",)})), scores
    )
    assert changed_verdict.outcome == "PASS"
    assert "because the suite changed after step-0900: caption.prompt" in changed_verdict.reason


def _with_predecessor(spec: Spec, before: contract.Predecessor) -> Spec:
    return spec.model_copy(update={"predecessor": before})
