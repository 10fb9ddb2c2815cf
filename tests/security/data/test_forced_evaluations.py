"""Forced evaluations killed at any write, and two at a time: the current results are complete and of one request."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from samples import draw_picture, encode_image, make_spec
from stored_captions import write_captions, write_golden

from ray_jobs import evaluate, publish
from ray_jobs.comparison.compare_runs import compare_runs
from ray_jobs.comparison.published_run import load_run
from ray_jobs.contract.artifacts import Manifest, Scores, Verdict
from ray_jobs.contract.ids import request_folder
from ray_jobs.contract.spec import Spec
from ray_jobs.gate.run import run_gate as decide
from ray_jobs.inputs.errors import RetryableError
from ray_jobs.metrics import run as scoring
from ray_jobs.report.links import measure_depth, move_links
from ray_jobs.storage import json_files, manifests, objects, parts, records

GOLDEN = [
    {"image_id": name, "image": encode_image(draw_picture(place)), "references": ["a dot"]}
    for place, name in enumerate("ab")
]
OLD, OF_ONE, OF_TWO = (
    ["tiny dot", "tiny line"],
    ["one big dot", "one big line"],
    ["of two big dots", "of two big lines"],
)
WORDS = {2.0: OLD, 3.0: OF_ONE, 4.0: OF_TWO}
MOST_WRITES = 40


@pytest.fixture
def run(tmp_path: Path) -> Spec:
    """A run with its record, made without `force`."""
    spec = make_spec(root=str(tmp_path))
    write_golden(spec, GOLDEN)
    write_captions(spec, [{"image_id": name, "caption": text} for name, text in zip("ab", OLD, strict=True)])
    objects.write(spec.uri, spec.model_dump_json().encode())
    evaluate.evaluate(spec)
    publish.publish(spec)
    return spec


def caption_anew(run: Spec, token: str, texts: list[str]) -> Spec:
    """Write the captions of a forced request as its job does. Returns the request's spec."""
    forced_spec, folder = run.model_copy(update={"force": token}), request_folder(token)
    elsewhere = forced_spec.model_copy(update={"root": f"{run.root}/{token}"})
    write_captions(elsewhere, [{"image_id": name, "caption": text} for name, text in zip("ab", texts, strict=True)])
    manifest = manifests.require_manifest(elsewhere.captions_uri, "caption")
    for part in manifest.parts:
        data = objects.read(manifests.uri_of_part(elsewhere.captions_uri, part.name))
        objects.write(manifests.uri_of_part(run.captions_uri, part.name, f"{folder}/parts"), data)
    manifests.commit_forced(run.captions_uri, manifest, folder)
    return forced_spec


class KilledError(BaseException):
    """Stands for kill -9: nothing catches it."""


def kill_at(step: int, work: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Do the work and kill it before its write of that number. Returns whether it reached its end."""
    steps = 0

    def killed_at(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == step:
                raise KilledError
            return real(*arguments)

        return call

    with monkeypatch.context() as patched:
        for name in ("write", "create", "delete", "upload"):
            patched.setattr(objects, name, killed_at(getattr(objects, name)))
        try:
            work()
        except KilledError:
            return False
    return True


def read_current_captions(run: Spec) -> list[str]:
    """The caption id that all results of the run have in common."""
    verdict = json_files.load(Verdict, f"{run.run_uri}/verdict.json")
    results = records.results_uri(run.run_uri, verdict)
    scores = json_files.load(Scores, f"{results}/scores.json")
    (part,) = scores.manifest.parts
    rows = parts.read(run.scores_uri, part.name, manifest=scores.manifest).to_pylist()
    texts: list[str] = parts.read(run.captions_uri, part.name, manifest=scores.captions)["caption"].to_pylist()
    mean = scores.metrics["words"].mean
    assert mean is not None
    assert sum(row["words"] for row in rows) / len(rows) == mean
    assert texts == WORDS[mean]
    page = objects.read(f"{results}/report.html").decode()
    assert [known for known in WORDS.values() if any(text in page for text in known)] == [texts]
    standing_scores = manifests.require_manifest(run.scores_uri, "evaluate")
    assert parts.read(run.scores_uri, part.name).num_rows == standing_scores.rows_in
    return texts


def count_steps() -> Iterator[int]:
    return iter(range(1, MOST_WRITES))


@pytest.mark.slow
def test_a_forced_evaluation_that_is_killed_at_any_write_leaves_the_old_results_or_the_new(
    run: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths_seen, is_done = [], False
    for step in count_steps():
        forced_spec = caption_anew(run, f"at-{step}", OF_ONE if step % 2 else OF_TWO)
        before, new = read_current_captions(run), OF_ONE if step % 2 else OF_TWO
        is_done = kill_at(step, partial(evaluate.evaluate, forced_spec), monkeypatch)
        after = read_current_captions(run)
        assert after in (before, new)
        lengths_seen.append(after == new)
        evaluate.evaluate(forced_spec)  # the retry
        assert read_current_captions(run) == new
        original = objects.read(f"{results_of(run)}/report.html")
        depths = (measure_depth(run.root, uri) for uri in (results_of(run), run.run_uri))
        assert objects.read(f"{run.run_uri}/report.html") == move_links(original, *depths)
        if is_done:
            break
    assert is_done
    assert lengths_seen == sorted(lengths_seen), "the new results stood before the last write of theirs"
    assert lengths_seen[0] is False
    assert lengths_seen.count(False) > 5


def results_of(run: Spec) -> str:
    return records.results_uri(run.run_uri, json_files.load(Verdict, f"{run.run_uri}/verdict.json"))


@pytest.mark.slow
def test_two_forced_evaluations_of_which_one_is_killed_at_any_write_do_not_undo_each_other(
    run: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in count_steps():
        first = caption_anew(run, f"one-{step}", OF_ONE)
        is_done = kill_at(step, partial(evaluate.evaluate, first), monkeypatch)
        two = caption_anew(run, f"two-{step}", OF_TWO)
        evaluate.evaluate(two)
        assert read_current_captions(run) == OF_TWO
        evaluate.evaluate(first)  # its captions do not stand any more: it is evaluated on those that do, or not at all
        assert read_current_captions(run) == OF_TWO
        assert publish.publish(two).metrics["words"].mean == 4
        assert publish.publish(first).metrics["words"].mean == 4
        if is_done:
            return
    raise AssertionError("it came to no end")


def test_the_request_that_was_decided_last_stands_whichever_is_tried_again(run: Spec) -> None:
    first = caption_anew(run, "one", OF_ONE)
    two = run.model_copy(update={"force": "two"})  # of the same captions
    evaluate.evaluate(first)
    evaluate.evaluate(two)
    of_two = results_of(run)
    assert "/forced/two/" in of_two
    evaluate.evaluate(first)
    assert results_of(run) == of_two
    assert manifests.require_manifest(run.scores_uri, "evaluate").details["folder"].startswith("forced/two/")


def test_a_swap_overtaken_by_another_is_repaired(run: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first has read the current state, and writes after the second has written."""
    first, second = caption_anew(run, "one", OF_ONE), run.model_copy(update={"force": "two"})
    real = json_files.replace
    swapped_names: list[str] = []

    def replace(uri: str, content: Any) -> None:
        if uri == f"{run.run_uri}/verdict.json" and not swapped_names:
            swapped_names.append(uri)
            evaluate.evaluate(second)
        real(uri, content)

    monkeypatch.setattr(json_files, "replace", replace)
    evaluate.evaluate(first)
    assert swapped_names
    assert "/forced/two/" in results_of(run)


def test_captions_replaced_meanwhile_give_no_mixed_verdict(run: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    first = caption_anew(run, "one", OF_ONE)

    def gate(spec: Spec, scores: Scores) -> Verdict:
        caption_anew(run, "two", OF_TWO)
        return decide(spec, scores)

    monkeypatch.setattr(evaluate, "run_gate", gate)
    with pytest.raises(RetryableError, match="made anew while they were evaluated"):
        evaluate.evaluate(first)
    assert read_current_captions(run) == OLD
    monkeypatch.setattr(evaluate, "run_gate", decide)
    evaluate.evaluate(first)
    assert read_current_captions(run) == OF_TWO


def test_the_record_is_of_one_request_though_other_captions_stand_by_now(run: Spec) -> None:
    first = caption_anew(run, "one", OF_ONE)
    evaluate.evaluate(first)
    two = run.model_copy(update={"force": "two"})
    broken = manifests.require_manifest(run.captions_uri, "caption")
    later = broken.model_copy(update={"rows_in": 9, "rows_out": 9, "created_at": broken.created_at.replace(year=2100)})
    objects.write(f"{run.captions_uri}/manifest.json", later.model_dump_json().encode())
    assert publish.publish(first).images["captioned"] == 2
    assert two.request_uri != first.request_uri


def test_a_run_is_compared_by_what_it_was_decided_on(run: Spec) -> None:
    """A forced request of another suite has replaced the captions since."""
    caption_anew(run, "one", OF_ONE)
    other = run.model_copy(update={"own_metrics": {}})
    scoring.score_captions(other, other.caption_id)
    stored_run = load_run(run.run_uri)
    assert [row.candidate for row in compare_runs(stored_run, stored_run, ["words"])] == [2.0]
    assert parts.read(run.scores_uri, "part-00000")["words"].to_pylist() == [3.0, 3.0]


def test_scores_of_other_captions_are_written_beside_the_current_ones(run: Spec) -> None:
    manifest: Manifest = manifests.require_manifest(run.scores_uri, "evaluate")
    before = {path: path.read_bytes() for path in Path(run.scores_uri).rglob("*") if path.is_file()}
    caption_anew(run, "one", OF_ONE)
    scoring.score_captions(run, run.caption_id)
    changed_names = [path.name for path, data in before.items() if path.read_bytes() != data]
    assert changed_names == ["manifest.json"]
    assert parts.read(run.scores_uri, "part-00000", manifest=manifest)["words"].to_pylist() == [2.0, 2.0]


def test_a_plain_evaluation_that_ends_after_a_forced_one_leaves_its_verdict(
    run: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects.delete(f"{run.run_uri}/verdict.json")
    forced_spec = run.model_copy(update={"force": "one"})

    def gate(spec: Spec, scores: Scores) -> Verdict:
        verdict = decide(spec, scores)
        if not spec.force:
            evaluate.evaluate(forced_spec)
        return verdict

    monkeypatch.setattr(evaluate, "run_gate", gate)
    with pytest.raises(RetryableError, match=r"scores .*: made anew while they were evaluated"):
        evaluate.evaluate(run)
    evaluate.evaluate(run)
    assert "/forced/one/" in results_of(run)


@pytest.mark.parametrize("folder", ["../../elsewhere", "/etc", "a/../b", "forced//x", ".hidden"])
def test_no_folder_of_a_verdict_leads_out_of_its_run(run: Spec, folder: str) -> None:
    content = objects.read(f"{run.run_uri}/verdict.json").decode().replace('"folder": ""', f'"folder": "{folder}"')
    assert folder in content
    with pytest.raises(ValueError, match="folder"):
        Verdict.model_validate_json(content)


def test_no_stored_spec_says_where_its_results_are(run: Spec) -> None:
    fields = run.model_dump() | {"_results_folder": "../../x", "_scores_folders": {run.caption_id: "../../x"}}
    spec_read = json_files.parse(Spec, json_files.dump_json(fields), "spec")
    assert (spec_read.results_uri, spec_read.scores_uri) == (run.run_uri, run.scores_uri)
