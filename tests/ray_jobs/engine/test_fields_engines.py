"""Fields in real jobs: Ray, vLLM on a CPU, and the demo's checkpoint, which was never trained to write JSON.

The grammar alone makes its answers fit: on the warm engine before and after a change of weights and between suites
with and without fields, on Ray Data's, with tensor parallelism, and in the audit's fresh reference.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from families import qwen2_5_vl
from ray_cluster import Cluster
from stage_jobs import DEMO, GOOD, assert_stage_fails, copy_golden_set, plan_spec, read_captions, read_rows, run_stage

from ray_jobs.contract.spec import Spec
from ray_jobs.storage import audits, manifests, parts

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("forked_starts")]

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "caption": {"type": "string", "maxLength": 40},
        "count": {"type": "integer", "minimum": 0, "maximum": 12},
        "colour": {"type": "string", "enum": ["red", "dark blue", "“grün”"]},
        "share": {"type": "number", "minimum": -1, "maximum": 1},
        "indoors": {"type": "boolean"},
        "objects": {"type": "array", "items": {"type": "string", "maxLength": 8}, "maxItems": 3},
    },
    "required": ["caption", "count", "colour", "share", "indoors", "objects"],
    "additionalProperties": False,
}
FIELDS = {"prompt": "describe the image", "max_tokens": 256, "fields": SCHEMA}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fields")
    (folder / "images").mkdir()
    for scene in sorted((DEMO / "images" / "scenes").iterdir())[:12]:
        shutil.copy(scene, folder / "images")
    return folder


def spec_of(place: Path, root: str, model: Path = GOOD, caption: dict[str, Any] = FIELDS, **engine: Any) -> Spec:
    return plan_spec(place, str(place / root), str(model), str(place / "images"), caption=caption, engine=engine)


@pytest.fixture
def golden(folder: Path, on_cluster: Cluster) -> Spec:
    """A spec whose golden set exists."""
    spec = spec_of(folder, "root")
    if manifests.load_manifest(spec.golden_uri) is None:
        run_stage("preprocess", spec)
    return spec


@pytest.fixture
def warm(folder: Path, golden: Spec, on_cluster: Cluster) -> Spec:
    """Captions with fields, by a warm engine that was started for another checkpoint and had captioned without
    fields."""
    if manifests.load_manifest(golden.captions_uri) is None:
        on_cluster.end_engines()
        plain = {"prompt": "describe the image", "max_tokens": 32}
        run_stage("caption", spec_of(folder, "root", DEMO / "checkpoints" / "step-0200", plain))
        assert "fields: 12 answers fit the schema, invalid-fields {}" in run_stage("caption", golden)
    return golden


def test_every_answer_fits_and_its_fields_are_columns(warm: Spec) -> None:
    manifest = manifests.require_manifest(warm.captions_uri, "caption")
    assert manifest.weights_swapped
    assert manifest.details["fields"] == {"valid": 12, "invalid": {}}
    for row in read_rows(warm.captions_uri):
        answer = json.loads(row["answer"])
        jsonschema.validate(answer, SCHEMA)
        assert {name: row[name] for name in SCHEMA["properties"]} == answer
        assert (row["invalid_fields"], row["failure"], row["finish_reason"]) == (None, None, "stop")
    part = parts.read(warm.captions_uri, manifest.parts[0].name)
    types = {name: str(part.schema.field(name).type) for name in SCHEMA["properties"]}
    assert types == {
        "caption": "string",
        "count": "int64",
        "colour": "string",
        "share": "double",
        "indoors": "bool",
        "objects": "list<element: string>",
    }


def test_answers_that_are_cut_off_are_counted_and_keep_their_text(folder: Path, warm: Spec) -> None:
    spec = spec_of(folder, "root", GOOD, FIELDS | {"max_tokens": 6})
    assert "fields: 0 answers fit the schema, invalid-fields {'cut-off': 12}" in run_stage("caption", spec)
    manifest = manifests.require_manifest(spec.captions_uri, "caption")
    assert (manifest.rows_out, manifest.lost, manifest.details["fields"]) == (
        12,
        {},
        {"valid": 0, "invalid": {"cut-off": 12}},
    )
    for row in read_rows(spec.captions_uri):
        assert row["caption"] == row["answer"]
        assert row["answer"].startswith("{")
        assert row["detail"].startswith("cut off at max_tokens 6; raise it")
        assert [row[name] for name in ("count", "colour", "share", "indoors", "objects")] == [None] * 5


def test_the_same_engine_then_gives_plain_captions(folder: Path, warm: Spec) -> None:
    plain = {"prompt": "describe the image", "max_tokens": 32}
    after = spec_of(folder, "root", GOOD, plain)
    output = run_stage("caption", after)
    assert "fields:" not in output
    on_its_own = spec_of(folder, "alone", GOOD, plain, kind="ray_data_llm")
    copy_golden_set(warm, on_its_own)
    run_stage("caption", on_its_own)
    assert read_captions(after) == read_captions(on_its_own)
    assert "answer" not in read_rows(after.captions_uri)[0]


def test_a_fresh_engine_gives_the_same_captions(warm: Spec) -> None:
    run_stage("audit", warm)
    report = audits.read(warm.captions_uri)
    assert report
    assert (report.images, report.equal, report.differing) == (12, 12, 0)


def test_ray_data_llm_gives_the_same_captions(folder: Path, warm: Spec) -> None:
    cold = spec_of(folder, "cold", kind="ray_data_llm")
    copy_golden_set(warm, cold)
    run_stage("caption", cold)
    names = ["image_id", "answer", *SCHEMA["properties"]]
    answers = [[{name: row[name] for name in names} for row in read_rows(spec.captions_uri)] for spec in (cold, warm)]
    assert answers[0] == answers[1]


def test_spread_over_two_processes_every_answer_fits(folder: Path, golden: Spec, tmp_path: Path) -> None:
    qwen2_5_vl(tmp_path / "two-heads")
    spec = spec_of(folder, "spread", tmp_path / "two-heads", tensor_parallel_size=2)
    copy_golden_set(golden, spec)
    run_stage("caption", spec)
    fields = manifests.require_manifest(spec.captions_uri, "caption").details["fields"]
    assert sum(fields["invalid"].values()) + fields["valid"] == 12
    assert set(fields["invalid"]) <= {"cut-off"}


def test_a_tokenizer_without_a_grammar_ends_the_job_before_an_engine_starts(
    folder: Path, warm: Spec, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(GOOD, tmp_path / "mute"))
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    for token in [token for token in tokenizer["model"]["vocab"] if token.startswith("{")]:
        tokenizer["model"]["vocab"][f"\u0120\u0120{token}"] = tokenizer["model"]["vocab"].pop(token)
    tokenizer["model"]["merges"] = []
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert_stage_fails(
        "caption", spec_of(folder, "root", model), 2, "its tokenizer has no token that begins a JSON object"
    )
