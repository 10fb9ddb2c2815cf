import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from samples import SUITE, make_baseline, make_spec, make_suite, with_value

from ray_jobs.contract.artifacts import Manifest
from ray_jobs.contract.ids import digest, name_of, slug
from ray_jobs.contract.parse_suite import parse_suite
from ray_jobs.contract.spec import Checkpoint, Spec
from ray_jobs.contract.suite import Suite
from ray_jobs.inputs.errors import InputError, suggest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("datasett", {}, "unknown key 'datasett'; did you mean 'dataset'?"),
        ("gates", {}, "unknown key 'gates'; did you mean 'gate'?"),
        ("dataset.sorce", "x", "unknown key 'dataset.sorce'; did you mean 'source'?"),
        ("preprocess.max_pixel", 1, "unknown key 'preprocess.max_pixel'; did you mean 'max_pixels'?"),
        ("caption.max_token", 1, "unknown key 'caption.max_token'; did you mean 'max_tokens'?"),
        ("engine.dtypes", "auto", "unknown key 'engine.dtypes'; did you mean 'dtype'?"),
        ("judge.modell", "x", "unknown key 'judge.modell'; did you mean 'model'?"),
        ("judge.engine.replica", 1, "unknown key 'judge.engine.replica'; did you mean 'replicas'?"),
        ("gate.base_line", "none", "unknown key 'gate.base_line'; did you mean 'baseline'?"),
        ("gate.metrics.chrf.margn", 1, "unknown key 'gate.metrics.chrf.margn'; did you mean 'margin'?"),
        ("gate.metrics.chrff", {"margin": 1}, "gate.metrics: unknown metric 'chrff'; did you mean 'chrf'?"),
        ("gate.metrics.characters", {"margin": 1}, "gate.metrics: unknown metric 'characters'"),
        ("gate.metrics.judge", {"margin": 1}, "gate.metrics: unknown metric 'judge'"),
        ("zzzzzz", 1, "unknown key 'zzzzzz'; known: name, dataset, preprocess, caption, engine, metrics, judge, gate"),
    ],
)
def test_an_unknown_key_at_any_level_gets_the_nearest_right_name(path: str, value: Any, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse_suite(yaml.safe_dump(with_value(SUITE, path, value)), "nightly.yaml")
    assert str(error.value).startswith(f"suite nightly.yaml: {message}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "not YAML"),
        ("", "must be a mapping"),
        ("- name", "must be a mapping"),
        ("name: x", "dataset is missing"),
        ("name: x\ndataset: {}", "dataset.source is missing"),
        ("name: a/b\ndataset: {source: x}", "name: String should match"),
        ("name: x\ndataset: {source: x, limit: 0}", "dataset.limit: Input should be greater than 0"),
        ("name: x\ndataset: {source: x}\njudge: {kind: vllm}", "judge: needs `model`"),
        ("name: x\ndataset: {source: x}\njudge: {prompt: hello}", "judge: `prompt` must hold {caption}"),
        ("name: x\ndataset: {source: x}\ngate: {alpha: 0.5}", "gate.alpha: Input should be less than 0.5"),
        ("name: x\ndataset: {source: x}\njudge: {criteria: [Colour]}", "judge.criteria.0: String should match"),
        ("name: x\ndataset: {source: x}\njudge: {criteria: [rationale]}", "judge: `criteria`: 'rationale' is a key"),
        ("name: x\ndataset: {source: x}\njudge: {criteria: [a, score]}", "judge: `criteria`: 'score' is a key of"),
        ("name: x\ndataset: {source: x}\njudge: {criteria: [better]}", "judge: `criteria`: 'better' is a key of"),
    ],
)
def test_a_faulty_suite_is_one_clear_line(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse_suite(text, "s.yaml")
    assert str(error.value).startswith(f"suite s.yaml: {message}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan", "1" + "0" * 400])
@pytest.mark.parametrize(
    "path",
    ["gate.limits.empty.max", "gate.limits.words.min", "gate.metrics.chrf.margin", "judge.timeout_seconds",
     "judge.price.input", "caption.temperature", "preprocess.decode_seconds", "preprocess.max_aspect"],
)  # fmt: skip
def test_no_number_is_infinite_or_nan(path: str, value: str) -> None:
    """JSON would store null, and the spec could not be read again."""
    first, *rest = path.split(".")
    inner = "".join(f"{{{step}: " for step in rest) + value + "}" * len(rest)
    with pytest.raises(InputError) as error:
        parse_suite(f"name: x\ndataset: {{source: x}}\n{first}: {inner}", "s.yaml")
    assert str(error.value).startswith(f"suite s.yaml: {path}: Input should be a ")


def test_a_typo_is_reported_instead_of_the_key_it_hides() -> None:
    with pytest.raises(InputError, match=r"unknown key 'dataset.sorce'"):
        parse_suite("name: x\ndataset: {sorce: y}", "s.yaml")


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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"judge": {"kind": "vllm"}}, "judge: needs `model`"),
        ({"judge": {"kind": "openai", "model": "m"}}, "judge: needs `base_url` and `model`"),
        ({"judge": {"key_variable": "sk-abc123"}}, "judge.key_variable: String should match"),
        ({"judge": {"pairwise_prompt": "{first}?"}}, "judge: `pairwise_prompt` must hold {first} and {second}"),
        ({"gate": {"limits": {"empty": {}}}}, "gate.limits.empty: needs `max` or `min`"),
        ({"gate": {"limits": {"emty": {"max": 1}}}}, "gate.limits: unknown metric 'emty'; did you mean 'empty'?"),
        ({"metrics": {"own": ["a/Polite.py"]}}, "metrics.own.0: String should match"),
        ({"metrics": {"own": ["a/chrf.py"]}}, "metrics: 'chrf' is there already; rename metrics.own's file"),
        ({"metrics": {"own": ["a/x.py", "b/x.py"]}}, "metrics: 'x' is there already; rename metrics.own's file"),
    ],
)
def test_settings_that_contradict_each_other(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        parse_suite(yaml.safe_dump(SUITE | settings), "s.yaml")
    assert str(error.value).startswith(f"suite s.yaml: {message}")
    assert "\n" not in str(error.value)


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


def test_the_ids_are_the_same_in_every_process_and_release() -> None:
    """Literals: if an id changes without a raised version, everything in storage is silently computed again."""
    spec = make_spec()
    assert digest({"b": 1, "a": [None, "é"]}) == "9ffd7d0c37a46551"
    assert (spec.golden_id, spec.caption_id, spec.scoring_id, spec.run_id) == (
        "acf4c646ebb99752",
        "9e53205c2c78b0e2",
        "377687eb2fd890ad",
        "a24f4386256d7a96",
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7"}
    command = [sys.executable, str(Path(__file__).parents[1] / "print_ids.py")]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert printed.stdout.split() == [spec.golden_id, spec.caption_id, spec.scoring_id, spec.run_id]


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


def manifest(**fields: Any) -> Manifest:
    plain: dict[str, Any] = {"stage": "golden", "id": "x", "parts": (), "created_at": datetime.now(UTC)}
    return Manifest(**(plain | fields))


def test_a_manifest_that_does_not_add_up_is_refused() -> None:
    assert manifest(rows_in=10, rows_out=7, lost={"empty": 2, "corrupt": 1}).rows_out == 7
    for rows_in, rows_out, lost_counts in ((10, 7, {"empty": 2}), (10, 10, {"empty": 1}), (9, 10, {})):
        with pytest.raises(ValidationError, match="in, "):
            manifest(rows_in=rows_in, rows_out=rows_out, lost=lost_counts)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("step-300", "step-300"),
        ("a b//c", "a-b-c"),
        ("--", "unnamed"),
        ("..", "unnamed"),
        ("a--b", "a-b"),
        ("é", "unnamed"),
    ],
)
def test_a_slug_is_safe_in_a_path_and_holds_no_double_dash(text: str, expected: str) -> None:
    assert slug(text) == expected


def test_names_and_hints() -> None:
    assert name_of("s3://b/models/step-300/") == "step-300"
    assert name_of("/a/b") == "b"
    assert suggest("colour", ["color", "shape"]) == "; did you mean 'color'?"
    assert suggest("x", ["color", "shape"]) == "; known: color, shape"
