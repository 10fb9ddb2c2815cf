import subprocess
import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from release_corpus import CORPUS
from samples import make_spec, make_suite
from stage_versions import RELEASED

import ray_jobs.metrics.builtin
from ray_jobs.contract import metric_names
from ray_jobs.contract.metric_names import METRICS, RESERVED, MetricFacts
from ray_jobs.contract.spec import EVALUATE_VERSION, Checkpoint
from ray_jobs.inputs.errors import InputError
from ray_jobs.metrics import CaptionContext, Metric, score_part
from ray_jobs.metrics.clip import similarity
from ray_jobs.metrics.metric import NEEDS
from ray_jobs.metrics.registry import BUILT_IN, build_judge_metrics, build_metrics
from ray_jobs.metrics.text.batch import CorpusStats

FILES = [
    file for file in Path(ray_jobs.metrics.builtin.__file__).parent.glob("*.py") if "\nMETRIC = " in file.read_text()
]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_metric_file_is_registered_under_its_name(file: Path) -> None:
    metric = import_module(f"ray_jobs.metrics.builtin.{file.stem}").METRIC
    assert metric.name == file.stem
    assert BUILT_IN[file.stem] is metric
    assert (metric.measure is None) != (metric.measure_all is None)


def test_nothing_else_is_registered() -> None:
    assert set(BUILT_IN) == {file.stem for file in FILES}


def facts_of(metrics: Iterable[Metric]) -> dict[str, MetricFacts]:
    return {metric.name: MetricFacts(metric.direction, metric.range, metric.needs) for metric in metrics}


def test_the_table_that_suites_are_checked_against_is_that_of_the_metrics() -> None:
    assert list(metric_names.BUILT_IN.items()) == list(facts_of(BUILT_IN.values()).items())
    assert facts_of(similarity.METRICS) == metric_names.CLIP
    assert {name: metric.direction for name, metric in BUILT_IN.items()} == METRICS


# The metrics of every run by each EVALUATE_VERSION, in the order of the columns. Add a line for a raised version, and
# leave the lines above it as they are.
METRICS_OF_VERSION = {
    2: "characters words tokens empty truncated repetition distinct_2 collapse refusal boilerplate language label_hit "
    "exact_match bleu4 rouge_l cider_d chrf",
}


def test_other_built_in_metrics_have_another_version() -> None:
    """Else stored scores of this version, which lack the new column, would be used again."""
    assert EVALUATE_VERSION in METRICS_OF_VERSION, (
        f"EVALUATE_VERSION {EVALUATE_VERSION} is new: add its line with all metrics to METRICS_OF_VERSION in {__file__}"
    )
    assert METRICS_OF_VERSION[EVALUATE_VERSION].split() == list(METRICS), (
        "the built-in metrics have changed: raise EVALUATE_VERSION in ray_jobs/contract/spec.py"
    )


def test_the_stored_scores_of_a_release_have_the_metrics_of_its_version() -> None:
    files = sorted(CORPUS.glob("scores/*/parts/*.parquet"))
    assert len(files) >= 20
    for file in files:
        columns = [name for name in pq.read_schema(file).names if name not in RESERVED and not name.startswith("judge")]
        assert columns == METRICS_OF_VERSION[RELEASED["EVALUATE_VERSION"]].split()


@pytest.mark.parametrize("criteria", [[], ["colour", "count"]])
def test_the_judges_metrics_in_that_table(criteria: list[str]) -> None:
    judge = make_spec(
        judge__kind="vllm", judge__model="/m", judge__criteria=criteria, judge__pairwise=True
    ).suite.judge  # fmt: skip
    assert metric_names.build_judge_facts(judge.metrics(), bool(criteria)) == facts_of(
        build_judge_metrics(judge).values()
    )


def test_names_and_directions_are_had_without_the_libraries_that_measure() -> None:
    code = (
        "import sys; from ray_jobs.contract.metric_names import METRICS; "
        "print(sorted({name.split('.')[0] for name in sys.modules} & set(sys.argv[1:])))"
    )
    heavy = ["numpy", "pyarrow", "ray", "torch", "sacrebleu", "rapidfuzz", "py3langid", "transformers", "scipy"]
    process = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    assert process.stdout == "[]\n"


def test_a_run_declares_custom_clip_and_judge_metrics_too() -> None:
    source = "from ray_jobs.metrics import Metric\nMETRIC = Metric('shout', 'share', -1, (0, 1), measure=lambda c: 0.5)"
    spec = make_spec(
        metrics__own=["shout.py"], metrics__clip="/models/clip",
        judge__kind="vllm", judge__model="/m", judge__criteria=["colour"], judge__pairwise=True,
    )  # fmt: skip
    clip = Checkpoint(uri="/models/clip", name="clip", fingerprint="c" * 16)
    spec = spec.model_copy(update={"own_metrics": {"shout": source}, "clip": clip})
    metrics = build_metrics(spec)
    assert list(metrics) == [
        *BUILT_IN, "shout", "clipscore", "refclipscore", "judge", "judge_colour", "preference"
    ]  # fmt: skip
    assert all(name == metric.name for name, metric in metrics.items())
    assert (metrics["judge"].range, metrics["judge"].kind) == ((0, 1), "mean")
    assert (metrics["judge_colour"].range, metrics["judge_colour"].kind) == ((0, 1), "share")
    assert list(build_metrics(make_spec())) == list(BUILT_IN)
    assert build_metrics(make_spec(judge__kind="vllm", judge__model="/m"))["judge"].range == (1, 5)


SHOUT = "from ray_jobs.metrics import Metric\nMETRIC = Metric('shout', 'share', 0, (0, 1), measure=lambda c: 0.5)"


def test_a_metric_without_a_direction_does_not_gate_and_this_is_reported() -> None:
    update = {"own_metrics": {"shout": SHOUT}}
    gating = make_spec(metrics__own=["shout.py"], gate__metrics={"shout": {"margin": 0.1}}).model_copy(update=update)
    with pytest.raises(
        InputError, match=r"gate\.metrics: shout has no direction, so nothing is worse; give its METRIC"
    ):
        build_metrics(gating)
    limited = make_spec(metrics__own=["shout.py"], gate__limits={"shout": {"max": 0.1}}).model_copy(update=update)
    assert build_metrics(limited)["shout"].direction == 0


def test_the_columns_beside_the_metrics_are_reserved(tmp_path: Path) -> None:
    spec = make_spec(root=str(tmp_path))
    captions = [{"image_id": "a", "failure": "engine-error"}]
    table, _ = score_part.build_scores(
        spec, "x", "part-00000", captions, [{"label": "l", "references": []}], CorpusStats()
    )
    assert set(table.column_names) == {*RESERVED, *BUILT_IN} - {"preference"}


@pytest.mark.parametrize("name", ["empty", "clipscore", "judge", *RESERVED])
def test_an_own_metric_cannot_take_a_name_that_is_there(name: str) -> None:
    spec = make_spec(judge__kind="vllm", judge__model="/m").model_copy(update={"own_metrics": {name: ""}})
    with pytest.raises(InputError, match=f"metric {name}: Assay has a metric of this name"):
        build_metrics(spec)


@pytest.mark.parametrize(
    "custom",
    [["empty.py"], ["a/x.py", "b/x.py"], ["clipscore.py"], ["judge.py"], *([f"{name}.py"] for name in RESERVED)],
)
def test_a_suite_with_two_metrics_of_one_name_is_refused(custom: list[str]) -> None:
    with pytest.raises(ValueError, match="is there already; rename"):
        make_suite(metrics__own=custom, metrics__clip="/m", judge__kind="vllm", judge__model="/m")
    assert make_suite(metrics__own=["x.py", "y.py"])


def test_every_metric_can_be_a_limit_and_those_with_a_direction_can_gate() -> None:
    for name, metric in BUILT_IN.items():
        assert make_suite(gate__limits={name: {"max": 1}})
        if metric.direction:
            assert make_suite(gate__metrics={name: {"margin": 0}})
        else:
            with pytest.raises(ValueError, match="unknown metric"):
                make_suite(gate__metrics={name: {"margin": 0}})


def test_a_declaration_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="the range of a share"):
        Metric("x", "u", 1, (0, 2), "share")


def test_what_a_metric_needs() -> None:
    bare = CaptionContext("a", 1, "stop")
    full = CaptionContext("a", 1, "stop", ("b",), "c", ("c",), fields={"count": 1}, truth={"count": 2})
    for needs in NEEDS:
        metric = Metric("x", "u", 1, (0, 1), needs=needs)  # type: ignore[arg-type]
        assert (metric.has_inputs(bare), metric.has_inputs(full)) == (needs in ("nothing", "text"), True)
    assert not Metric("x", "u", 1, (0, 1), needs="name").has_inputs(CaptionContext("a", 1, "stop", label="-"))
