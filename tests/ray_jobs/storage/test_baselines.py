"""The baseline and the anchor that a new run is compared with."""

import pytest
from published_series import name_of, publish_run
from samples import make_spec

from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import baselines, index_rebuild, objects


def test_the_previous_baseline_is_the_last_run_with_a_verdict(store: str) -> None:
    spec = make_spec(root=store)
    assert baselines.find_baseline(spec, "previous") is None
    for number, outcome in enumerate(("PASS", "FAIL", "INCONCLUSIVE"), start=1):
        publish_run(store, number, outcome)
        assert name_of(baselines.find_baseline(spec, "previous")) == f"step-{number}"
    publish_run(store, 4, "INCOMPLETE")
    assert name_of(baselines.find_baseline(spec, "previous")) == "step-3"
    assert name_of(baselines.find_baseline(spec, "last-accepted")) == "step-1"
    assert baselines.find_baseline(spec, "none") is None


def test_a_repeated_run_keeps_its_baseline_and_anchor(store: str) -> None:
    first = publish_run(store, 1, "PASS", "previous", "first")
    second = publish_run(store, 2, "PASS", "previous", "first")
    third = publish_run(store, 3, "PASS", "previous", "first")
    publish_run(store, 4, "PASS")
    assert (first.baseline, first.anchor) == (None, None)
    assert (name_of(second.baseline), second.anchor) == (
        "step-1",
        None,
    )  # its baseline is the first: no anchor beside it
    assert (name_of(third.baseline), name_of(third.anchor)) == ("step-2", "step-1")
    for spec in (first, second, third):
        asked_again = spec.model_copy(update={"baseline": None, "anchor": None})
        assert baselines.find_baseline(asked_again, "previous") == spec.baseline
        asked_again = asked_again.model_copy(update={"baseline": spec.baseline})
        assert baselines.find_anchor(asked_again, "first") == spec.anchor


def test_other_words_are_another_question(store: str) -> None:
    for number in (1, 2):
        publish_run(store, number, "PASS")
    third = publish_run(store, 3, "FAIL", "none")
    assert third.baseline is None
    assert name_of(baselines.find_baseline(third, "last-accepted")) == "step-2"
    assert baselines.find_baseline(third, "none") is None


def test_the_anchor_stays_while_the_baseline_moves(store: str) -> None:
    publish_run(store, 1, "FAIL")
    for number in (2, 3, 4):
        publish_run(store, number, "PASS")
    spec = make_spec(root=store)
    spec = spec.model_copy(update={"baseline": baselines.find_baseline(spec, "last-accepted")})
    assert (name_of(spec.baseline), name_of(baselines.find_anchor(spec, "first"))) == ("step-4", "step-2")
    assert baselines.find_anchor(spec, None) is None
    assert name_of(baselines.find_anchor(spec, "/models/step-1")) == "step-1"
    assert baselines.find_anchor(spec, "/models/step-4") is None  # the baseline's own run


def test_no_checkpoint_is_its_own_anchor(store: str) -> None:
    first = publish_run(store, 1, "PASS")
    for anchor_setting in ("first", first.checkpoint.uri, first.run_uri):
        assert baselines.find_anchor(first, anchor_setting) is None


def test_a_named_anchor_that_was_never_validated(store: str) -> None:
    with pytest.raises(InputError, match=r"^anchor /models/step-9: no record of it in suite small with these images"):
        baselines.find_anchor(make_spec(root=store), "/models/step-9")


def test_another_prompt_is_another_series(store: str) -> None:
    publish_run(store, 1, "PASS")
    asked_otherwise = make_spec(root=store, caption__prompt="another question")
    for baseline_setting in ("last-accepted", "previous"):
        assert baselines.find_baseline(asked_otherwise, baseline_setting) is None
    with pytest.raises(InputError, match="no record of it"):
        baselines.find_baseline(asked_otherwise, "/models/step-1")


def test_a_question_in_other_words_takes_no_anchor_away(store: str) -> None:
    """By hand against the first run, which is then no anchor as well; by the nightly run it is one."""
    first = publish_run(store, 1, "PASS", anchor="first")
    publish_run(store, 2, "PASS", anchor="first")
    by_hand = publish_run(store, 3, "FAIL", first.run_uri, "first")
    assert (name_of(by_hand.baseline), by_hand.anchor) == ("step-1", None)
    nightly = publish_run(store, 3, "FAIL", "last-accepted", "first")
    assert (name_of(nightly.baseline), name_of(nightly.anchor)) == ("step-2", "step-1")


@pytest.mark.parametrize(
    ("content", "why"), [(None, "there is none"), (b"{}", r"not a record of this version \(ValidationError\)")]
)
@pytest.mark.parametrize("baseline_setting", ["last-accepted", "previous", "/models/step-1"])
def test_a_baseline_whose_record_cannot_be_read(
    store: str, content: bytes | None, why: str, baseline_setting: str
) -> None:
    first, spec = publish_run(store, 1, "PASS"), make_spec(root=store)
    objects.delete(f"{first.run_uri}/record.json")
    if content:
        objects.write(f"{first.run_uri}/record.json", content)
    told_by = rf"{first.run_uri}/record.json: {why}; publish that run again, or leave it out with "
    for ask, role in ((baselines.find_baseline, "baseline"), (baselines.find_anchor, "anchor")):
        words = (
            {"last-accepted": "first", "previous": "first"}.get(baseline_setting, baseline_setting)
            if role == "anchor"
            else baseline_setting
        )
        with pytest.raises(InputError, match=f"^{role} {words}: {told_by}") as error:
            ask(spec, words)
        assert "\n" not in str(error.value)
    index_rebuild.rebuild_index(store)
    if baseline_setting == "last-accepted":
        assert baselines.find_baseline(spec, baseline_setting) is None
