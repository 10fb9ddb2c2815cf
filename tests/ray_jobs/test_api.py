"""The public API over a small store, and each script of `examples/` over the same store."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from samples import make_record, make_spec
from stored_runs import CaptionResult, Image, write_golden, write_run, write_scores

from ray_jobs import api
from ray_jobs.storage import records

REPO = Path(__file__).parents[2]
EXAMPLES = REPO / "examples"
IMAGES = [Image(f"{number:03d}.png", ["a red square"]) for number in range(10)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Two published runs of ten images in three parts. The second is worse, and lacks a caption for one image."""
    root, runs = tmp_path_factory.mktemp("store"), []
    for number, shift in ((1, 0.0), (2, -20.0)):
        spec = make_spec(root=str(root), fingerprint=f"{number}" * 16, called=f"step-{number}")
        results = [
            CaptionResult(f"caption {place} of step {number}", {"chrf": 50.0 + place + shift, "words": 5.0})
            for place in range(len(IMAGES))
        ]
        if number == 2:
            results[3] = CaptionResult(caption=None, values={"chrf": None, "words": None}, failure="engine-error")
        if number == 1:
            write_golden(spec, IMAGES)
        scores = write_scores(spec, write_run(spec, spec.caption_id, IMAGES, results), results)
        published = make_record(spec).model_copy(update={"metrics": scores.metrics})
        runs.append(records.publish(str(root), published).run_uri)
    return SimpleNamespace(root=str(root), baseline=runs[0], candidate=runs[1])


def test_records_are_listed_and_loaded(store: SimpleNamespace) -> None:
    record_list = api.list_records(store.root, "small")
    assert [line.run_uri for line in record_list] == [store.baseline, store.candidate]
    assert [line.means["chrf"][0] for line in record_list] == [54.5, pytest.approx(34.6667)]
    record = api.load_record(f"{store.candidate}/record.json")
    assert (record.run_uri, record.metrics["chrf"].n) == (store.candidate, 9)
    assert api.list_records(store.root, "other") == []


def test_captions_and_scores_come_in_the_same_parts_and_rows(store: SimpleNamespace) -> None:
    captions, scores = list(api.iterate_captions(store.candidate)), list(api.iterate_scores(store.candidate))
    assert [len(part) for part in captions] == [len(part) for part in scores] == [4, 4, 2]
    for caption_part, score_part in zip(captions, scores, strict=True):
        assert caption_part["image_id"].to_pylist() == score_part["image_id"].to_pylist()
    assert captions[0]["caption"].to_pylist() == [f"caption {place} of step 2" for place in range(3)] + [None]
    assert captions[0]["failure"].to_pylist() == [None, None, None, "engine-error"]
    assert scores[0]["chrf"].to_pylist() == [30.0, 31.0, 32.0, None]


def test_columns_are_chosen_by_name(store: SimpleNamespace) -> None:
    part = next(api.iterate_scores(store.candidate, ["words", "image_id"]))
    assert part.column_names == ["words", "image_id"]
    with pytest.raises(api.InputError, match=r"column 'chrv': not in .*; did you mean 'chrf'\?$"):
        next(api.iterate_scores(store.candidate, ["chrv"]))


def test_two_runs_are_compared(store: SimpleNamespace) -> None:
    comparison = api.compare_runs(store.baseline, store.candidate)
    assert (comparison.baseline.checkpoint.name, comparison.candidate.checkpoint.name) == ("step-1", "step-2")
    chrf = next(comparison for comparison in comparison.comparisons if comparison.metric == "chrf")
    assert (chrf.n, chrf.difference, chrf.advisory) == (9, -20.0, True)
    assert comparison.left_out == {}


@pytest.mark.parametrize("read_run", [api.load_record, api.iterate_captions, api.iterate_scores])
def test_a_folder_that_is_no_run_is_an_error(store: SimpleNamespace, read_run: object) -> None:
    with pytest.raises(
        api.InputError, match=r"no record\.json there; name a published run's folder or its record\.json"
    ):
        read_run(f"{store.root}/runs/none")  # type: ignore[operator]


def test_reading_writes_nothing(store: SimpleNamespace) -> None:
    def state() -> list[tuple[Path, int]]:
        return sorted((path, path.stat().st_mtime_ns) for path in Path(store.root).rglob("*"))

    before = state()
    api.list_records(store.root, "small")
    list(api.iterate_captions(store.baseline))
    api.compare_runs(store.baseline, store.candidate)
    assert state() == before


@pytest.mark.parametrize("environment", ["control", "data"])
def test_records_are_read_without_the_libraries_of_the_jobs(store: SimpleNamespace, environment: str) -> None:
    python = REPO / ".assay" / environment / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{python} is not installed")
    packages = ("ray", "torch", "pyarrow", "numpy", "airflow")
    command = [python, "-P", str(Path(__file__).with_name("print_records.py")), store.root, *packages]
    process = subprocess.run(command, env={"PYTHONPATH": str(REPO)}, capture_output=True, text=True)
    assert process.stdout.splitlines() == [store.baseline, store.candidate, "[]"], process.stderr


def example(name: str, *arguments: str) -> list[str]:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    process = subprocess.run(command, env={"PYTHONPATH": str(REPO)}, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return process.stdout.splitlines()


EXPECTED: dict[str, tuple[Callable[[SimpleNamespace], tuple[str, ...]], list[str]]] = {
    "list_runs.py": (
        lambda store: (store.root, "small", "chrf"),
        [r"\d{4}-\d\d-\d\d  step-1  PASS  chrf 54\.5 ± 0\.96", r"\d{4}-\d\d-\d\d  step-2  PASS  chrf 34\.67 ± 1\.1"],
    ),
    "worst_captions.py": (
        lambda store: (store.candidate, "chrf"),
        [
            r"step-2: PASS: as told",
            *[rf"{value}  {place:03d}\.png  caption {place} of step 2" for value, place in
              ((30, 0), (31, 1), (32, 2), (34, 4), (35, 5), (36, 6), (37, 7), (38, 8), (39, 9))],
        ],
    ),
    "compare_runs.py": (
        lambda store: (store.baseline, store.candidate),
        [
            r"step-2 against step-1",
            r"chrf  -20  \[-46\.9, \+20\.35\]  over 9 images",
            r"words  \+0  over 9 images",
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("script", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_an_example_prints_its_documented_output(store: SimpleNamespace, script: str) -> None:
    arguments, expected = EXPECTED[script]
    printed = example(script, *arguments(store))
    assert len(printed) == len(expected), printed
    for line, pattern in zip(printed, expected, strict=True):
        assert re.fullmatch(pattern, line), line
    assert f"[{script}]({script})" in (EXAMPLES / "README.md").read_text()
