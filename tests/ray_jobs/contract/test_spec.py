"""The spec: which settings move which ids, and where outputs are."""

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from samples import make_baseline, make_spec, make_suite
from stage_versions import LOOKED_UP_IN, PRESENT, RELEASED, use_released_versions, variables_of

from ray_jobs.contract import spec as contract
from ray_jobs.contract.ids import digest
from ray_jobs.contract.spec import Checkpoint, Spec
from ray_jobs.contract.suite import Suite

ROOT = Path(__file__).parents[3]
GOLDEN, SERIES, CAPTION, SCALE, RUN = "golden_id", "series_id", "caption_id", "scoring_id", "run_id"
ALL = {GOLDEN, SERIES, CAPTION, SCALE, RUN}
IMAGES, ASKED = ALL - {SCALE}, {SERIES, CAPTION, RUN}
JUDGED = {"judge__kind": "vllm", "judge__model": "/models/judge"}


@pytest.mark.parametrize(
    ("path", "value", "moved"),
    [
        ("name", "other", {RUN}),
        ("dataset__source", "/elsewhere", IMAGES),
        ("dataset__limit", 10, IMAGES),
        ("dataset__seed", 1, IMAGES),
        ("dataset__image", "picture", IMAGES),
        ("dataset__images", "/data/pictures", IMAGES),
        ("dataset__references", "caption", IMAGES),
        ("dataset__label", "class", IMAGES),
        ("dataset__split", "val", IMAGES),
        ("dataset__config", "en", IMAGES),
        ("dataset__revision", "abc", set()),  # enters as source_revision
        ("dataset__reads", 3, set()),
        ("preprocess__max_pixels", 12544, IMAGES),
        ("preprocess__min_pixels", 784, IMAGES),
        ("preprocess__patch", 32, IMAGES),
        ("preprocess__format", "png", IMAGES),
        ("preprocess__quality", 90, IMAGES),
        ("preprocess__max_source_pixels", 1000, IMAGES),
        ("preprocess__max_aspect", 10.0, IMAGES),
        ("preprocess__filter", "lanczos", IMAGES),
        ("preprocess__min_side", 10, IMAGES),
        ("preprocess__duplicates", "keep", IMAGES),
        ("preprocess__decode_seconds", 5.0, IMAGES),
        ("preprocess__decode_mb", 512, IMAGES),
        ("preprocess__max_rejected_fraction", 0.5, set()),
        ("preprocess__part_rows", 7, set()),
        ("preprocess__part_mb", 7, set()),
        ("caption__prompt", "what is this?", ASKED),
        ("caption__max_tokens", 8, ASKED),
        ("caption__temperature", 0.5, ASKED),
        ("caption__seed", 1, ASKED),
        ("caption__fields", {"properties": {"count": {"type": "integer"}}}, ASKED),
        ("engine__dtype", "float32", ASKED),
        ("engine__max_model_len", 512, ASKED),
        ("engine__quantization", "fp8", ASKED),
        ("engine__max_num_seqs", 8, set()),
        ("engine__max_num_batched_tokens", 8192, set()),
        ("engine__tensor_parallel_size", 2, set()),
        ("engine__renderers", 2, set()),
        ("engine__replicas", 2, set()),
        ("engine__gpu_memory_utilization", 0.5, set()),
        ("engine__enforce_eager", True, set()),
        ("engine__keep_seconds", 60.0, set()),
        ("engine__audit", 0, set()),
        ("engine__base_model", "/models/base", set()),
        ("judge__model", "/copies/judge", set()),  # its fingerprint counts, not its place
        ("judge__prompt", "good? {caption}", {SCALE, RUN}),
        ("judge__criteria", ["colour"], {SCALE, RUN}),
        ("judge__max_tokens", 16, {SCALE, RUN}),
        ("judge__engine__dtype", "float32", {SCALE, RUN}),
        ("judge__engine__max_num_seqs", 8, set()),
        ("judge__pairwise", True, {SCALE, RUN}),
        ("judge__pairwise_prompt", "{first} or {second}?", {SCALE, RUN}),
        ("judge__base_url", "http://elsewhere", set()),  # of another kind of judge
        ("judge__key_variable", "OTHER_KEY", set()),
        ("judge__concurrency", 3, set()),
        ("judge__timeout_seconds", 3.0, set()),
        ("judge__tries", 3, set()),
        ("judge__price", {"input": 1.0}, set()),
        ("metrics__language", "de", {SCALE, RUN}),
        ("metrics__synonyms", "/names.json", set()),  # what they hold counts
        ("metrics__own", ["/code/politeness.py"], set()),
        ("metrics__clip", "/models/clip", set()),
        ("gate__alpha", 0.01, {RUN}),
        ("gate__coverage", 0.5, {RUN}),
        ("gate__metrics", {"chrf": {"margin": 1}}, {RUN}),
        ("gate__power", 0.9, {RUN}),
        ("gate__cluster", "label", {RUN}),
        ("gate__limits", {"empty": {"max": 0.01}}, {RUN}),
        ("gate__baseline", "none", set()),  # what it resolves to counts
        ("gate__anchor", "first", set()),
        ("gate__ask", ("PASS",), set()),
    ],
)
def test_a_setting_moves_exactly_the_ids_of_what_it_changes(path: str, value: Any, moved: set[str]) -> None:
    before, after = make_spec(**JUDGED), make_spec(**(JUDGED | {path: value}))
    assert {name for name in ALL if getattr(before, name) != getattr(after, name)} == moved


def test_another_endpoint_is_another_judge() -> None:
    settings = {"judge__kind": "openai", "judge__model": "judge-1", "judge__base_url": "http://one/v1"}
    spec = make_spec(**settings)
    for path, value in (("judge__base_url", "http://two/v1"), ("judge__model", "judge-2")):
        two = make_spec(**(settings | {path: value}))
        assert spec.judge_id != two.judge_id
        assert spec.caption_id == two.caption_id


def test_every_setting_of_a_suite_is_in_the_table_above() -> None:
    table = test_a_setting_moves_exactly_the_ids_of_what_it_changes.pytestmark[0].args[1]
    paths = {path for path, _, _ in table}
    settings = {"name"}
    for section in ("dataset", "preprocess", "caption", "engine", "metrics", "judge", "gate"):
        model: Any = Suite.model_fields[section].annotation
        settings |= {f"{section}__{name}" for name in model.model_fields}
    told_below = {"dataset__stratify", "dataset__label_names", "dataset__truth"}
    untabled = settings - paths - told_below - {"dataset__format", "engine__kind", "judge__kind", "judge__engine"}
    assert untabled == set()


def test_what_needs_a_label_moves_every_id_and_is_refused_without_one() -> None:
    labelled: dict[str, Any] = {"dataset__label": "kind", "dataset__limit": 10}
    settings: dict[str, Any] = {"dataset__stratify": True, "dataset__label_names": "/names.json"}
    for path, value in settings.items():
        assert make_spec(**labelled, **{path: value}).golden_id != make_spec(**labelled).golden_id
        with pytest.raises(ValueError, match="needs `label`"):
            make_spec(**{path: value})


def test_what_is_not_in_the_suite_moves_its_ids_too() -> None:
    before = make_spec(**JUDGED)
    assert before.judge

    def list_moved_ids(**update: Any) -> set[str]:
        after = before.model_copy(update=update)
        return {name for name in ALL if getattr(before, name) != getattr(after, name)}

    renamed = Checkpoint(uri="/copy/step-2", name="step-2", fingerprint=before.checkpoint.fingerprint)
    assert list_moved_ids(source_revision="r2") == IMAGES
    assert list_moved_ids(checkpoint=before.checkpoint.model_copy(update={"fingerprint": "0" * 16})) == {CAPTION, RUN}
    assert list_moved_ids(checkpoint=renamed) == set()
    assert list_moved_ids(judge=before.judge.model_copy(update={"fingerprint": "0" * 16})) == {SCALE, RUN}
    assert list_moved_ids(clip=before.judge) == {SCALE, RUN}
    assert list_moved_ids(own_metrics={"politeness": "METRIC = 1"}) == {SCALE, RUN}
    assert list_moved_ids(synonyms={"cat": ("kitten",)}) == {SCALE, RUN}
    old = make_baseline(make_spec(called="old", fingerprint="0" * 16))
    assert list_moved_ids(baseline=old) == list_moved_ids(anchor=old) == {RUN}
    assert before.model_copy(update={"anchor": old}).run_id != before.model_copy(update={"baseline": old}).run_id
    assert list_moved_ids(root="s3://elsewhere") == set()
    assert list_moved_ids(force="again") == set()


# Of golden set, captions, scores and run, by the code and the stage versions of e0c6db2.
RELEASED_IDS = ["acf4c646ebb99752", "9e53205c2c78b0e2", "377687eb2fd890ad", "a24f4386256d7a96"]


def list_ids(spec: Spec) -> list[str]:
    return [spec.golden_id, spec.caption_id, spec.scoring_id, spec.run_id]


def test_the_ids_are_the_same_in_every_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """Literals: if an id changes without a raised version, everything in storage is silently computed again."""
    use_released_versions(monkeypatch)
    assert digest({"b": 1, "a": [None, "é"]}) == "9ffd7d0c37a46551"
    assert list_ids(make_spec()) == RELEASED_IDS


def print_ids(**environment: str) -> list[str]:
    """The ids of the same spec in another process."""
    path = f"{ROOT}:{ROOT / 'tests' / 'startup'}"
    command = [sys.executable, str(Path(__file__).parents[1] / "print_ids.py")]
    variables = os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": "7"} | environment
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stdout.split()


def test_the_ids_are_the_same_in_every_process() -> None:
    assert print_ids() == list_ids(make_spec())


def test_a_process_of_the_tests_has_the_versions_that_it_is_given() -> None:
    assert print_ids(**variables_of(RELEASED)) == RELEASED_IDS
    raised = print_ids(**variables_of(RELEASED | {"EVALUATE_VERSION": RELEASED["EVALUATE_VERSION"] + 1}))
    assert [new == old for new, old in zip(raised, RELEASED_IDS, strict=True)] == [True, True, False, False]


def test_no_stage_version_is_lower_than_that_of_a_release() -> None:
    """A lower version would mix new outputs with those that the release stored under the same ids."""
    assert {name for name in vars(contract) if name.endswith("_VERSION")} == RELEASED.keys()
    assert {name: max(PRESENT[name], RELEASED[name]) for name in RELEASED} == PRESENT


@pytest.mark.parametrize(
    ("version", "moved"),
    [
        ("PREPROCESS_VERSION", IMAGES),
        ("CAPTION_VERSION", ASKED),
        ("JUDGE_VERSION", {SCALE, RUN}),
        ("EVALUATE_VERSION", {SCALE, RUN}),
    ],
)
def test_a_raised_version_moves_exactly_the_ids_of_its_stage(
    version: str, moved: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(**JUDGED)
    before, answers = {name: getattr(spec, name) for name in ALL}, spec.judge_uri
    monkeypatch.setattr(contract, version, PRESENT[version] + 1)
    assert {name for name in ALL if getattr(spec, name) != before[name]} == moved
    assert (spec.judge_uri != answers) == (version in ("PREPROCESS_VERSION", "JUDGE_VERSION"))


def test_versions_are_read_only_where_the_tests_set_them() -> None:
    """A module that imports a version by its name would keep the present one in a test of stored files."""
    importing = {
        file.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        for folder in ("ray_jobs", "plugins", "dags")
        for file in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom) and {alias.name for alias in node.names} & RELEASED.keys()
    }
    assert {contract.__name__, *importing} == {module.__name__ for module in LOOKED_UP_IN}


def test_every_image_is_sampled_with_a_seed_of_its_own() -> None:
    seeds = {
        make_suite(caption__seed=seed).caption.seed_of(f"{image}.jpg") for seed in range(3) for image in range(1000)
    }
    assert len(seeds) == 3000
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert make_suite().caption.seed_of("a.jpg") == 2083192220


def test_a_spec_survives_its_json() -> None:
    spec = make_spec(**JUDGED).model_copy(update={"baseline": make_baseline(make_spec()), "force": "x"})
    assert Spec.model_validate_json(spec.model_dump_json()) == spec


def test_where_things_go() -> None:
    spec = make_spec(root="s3://bucket/a", called="step 300/é")
    assert spec.golden_uri == f"s3://bucket/a/golden/{spec.golden_id}"
    assert spec.captions_uri == f"s3://bucket/a/captions/{spec.caption_id}"
    assert spec.scores_uri == spec.scores_uri_of(spec.caption_id) != spec.scores_uri_of("another")
    assert spec.scores_uri.startswith("s3://bucket/a/scores/")
    assert spec.judge_uri.startswith("s3://bucket/a/judge/")
    assert spec.judge_uri.endswith(spec.golden_id)
    assert spec.uri == f"s3://bucket/a/runs/step-300-ffffffff/{spec.run_id}/spec.json"
