"""Any two stored runs, compared by their files alone."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from samples import make_record, make_spec
from stored_runs import CaptionResult, Image, write_golden, write_run, write_scores

from ray_jobs import cli
from ray_jobs.comparison.comparable_metrics import find_comparable_metrics
from ray_jobs.comparison.published_run import load_run
from ray_jobs.contract import artifacts
from ray_jobs.contract import spec as contract
from ray_jobs.contract.spec import Spec
from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import object_listing, objects, parts, records, specs

IMAGES = [Image(f"{number:03d}.png", ["a red square"], "square") for number in range(24)]
JUDGED: dict[str, Any] = {"judge__kind": "vllm", "judge__model": "/models/judge"}


def store_run(
    root: Path | str, number: int, shift: float = 0.0, images: list[Image] | None = None, judge: float = 4.0,
    **settings: Any,
) -> Spec:  # fmt: skip
    """Publish a run whose metric values are `shift` higher than another's. Returns its spec."""
    pictures = IMAGES if images is None else images
    spec = make_spec(root=str(root), fingerprint=f"{number}" * 16, called=f"step-{number}", **settings)
    results = [
        CaptionResult(
            f"a red square {place}",
            {"chrf": 50.0 + place % 5 + shift * (1 + place % 4 / 10), "words": 4.0, "empty": 0.0}
            | ({"judge": judge + place % 2} if spec.judge else {}),
        )
        for place in range(len(pictures))
    ]
    write_golden(spec, pictures, rows=16)
    scores = write_scores(spec, write_run(spec, spec.caption_id, pictures, results, rows=16), results)
    records.publish(str(root), make_record(spec).model_copy(update={"metrics": scores.metrics}))
    return spec


def run_compare(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = cli.main(["compare", *arguments])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_two_runs_of_one_series(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = store_run(tmp_path, 1), store_run(tmp_path, 2, shift=-3.0)
    page = tmp_path / "page.html"
    code, out, err = run_compare(first.run_uri, f"{second.run_uri}/record.json", "--output", str(page), capsys=capsys)
    assert (code, err) == (0, "")
    assert out.splitlines()[0].split() == ["metric", "baseline", "candidate", "difference", "95%", "interval", "images"]
    (chrf,) = [line for line in out.splitlines() if line.startswith("chrf")]
    assert "▼ worse" in chrf
    assert "\u22123.45" in chrf
    assert chrf.endswith("24")
    assert "left out" not in out
    assert out.splitlines()[-1] == f"page: {page}"
    html = page.read_text()
    assert "COMPARISON" in html
    assert "step-2 against step-1: chrf worse" in html
    assert "Got worse the most" in html
    assert "FAIL" not in html.partition("<main>")[2].partition('id="trend"')[0].replace("would FAIL", "")


def test_json_output_has_every_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = store_run(tmp_path, 1, **JUDGED), store_run(tmp_path, 2, shift=-3.0)
    page = tmp_path / "page.html"
    code, out, err = run_compare(first.run_uri, second.run_uri, "--output", str(page), "--json", capsys=capsys)
    assert (code, err) == (0, "")
    answer = json.loads(out)
    assert (answer["baseline"], answer["candidate"], answer["page"]) == (first.run_uri, second.run_uri, str(page))
    comparisons = {comparison["metric"]: comparison for comparison in answer["comparisons"]}
    assert list(comparisons) == ["chrf", "words", "empty"]
    assert comparisons["chrf"]["difference"] == pytest.approx(-3.45, abs=0.01)
    assert comparisons["chrf"]["advisory"] is True
    assert answer["left_out"] == {"judge": "only one run has it"}
    assert "COMPARISON" in page.read_text()


def test_columns_are_aligned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = store_run(tmp_path, 1), store_run(tmp_path, 2, shift=2.0)
    _, out, _ = run_compare(first.run_uri, second.run_uri, "--output", str(tmp_path / "p.html"), capsys=capsys)
    table = [line for line in out.splitlines() if not line.startswith("page")]
    assert len({len(line) for line in table}) == 1


def test_runs_with_other_scales_on_what_means_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = store_run(tmp_path, 1, **JUDGED)
    second = store_run(tmp_path, 2, shift=1.0, **JUDGED | {"judge__prompt": "how good is {caption}?"})
    assert first.scoring_id != second.scoring_id
    page = tmp_path / "p.html"
    _, out, _ = run_compare(first.run_uri, second.run_uri, "--output", str(page), capsys=capsys)
    assert "left out: judge: another judge" in out
    assert not [line for line in out.splitlines() if line.startswith("judge")]
    assert [line.split()[0] for line in out.splitlines()[1:4]] == ["chrf", "words", "empty"]
    html = page.read_text()
    assert "Left out: judge (another judge)." in html
    assert "Distributions" in html
    assert "<b>judge</b>" not in html  # not drawn as though it were one scale


def test_one_judge_on_two_scales_is_compared(tmp_path: Path) -> None:
    first = store_run(tmp_path, 1, **JUDGED)
    second = store_run(tmp_path, 2, **JUDGED | {"metrics__language": "de"})
    assert first.scoring_id != second.scoring_id
    metrics, left_out = find_comparable_metrics(load_run(first.run_uri), load_run(second.run_uri))
    assert "judge" in metrics
    assert left_out == {}


def test_runs_of_two_versions_have_nothing_that_means_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """This happens after an update of Assay that changed what a metric measures."""
    with monkeypatch.context() as before:
        before.setattr(contract, "EVALUATE_VERSION", contract.EVALUATE_VERSION - 1)
        spec = store_run(tmp_path, 1)
        old, older, old_scores = spec.run_uri, store_run(tmp_path, 3, shift=1.0).run_uri, spec.scores_uri
    new, page = store_run(tmp_path, 2).run_uri, tmp_path / "p.html"
    assert load_run(old).scores_uri == old_scores != spec.scores_uri
    for pair in ((old, new), (new, old)):
        code, out, err = run_compare(*pair, "--output", str(page), capsys=capsys)
        assert (code, out) == (2, "")
        assert err == (
            f"{pair[0]} and {pair[1]}: no metric of the one means the same in the other (measured by "
            "another version); validate both with one suite and one version\n"
        )
        assert not page.exists()
    code, out, err = run_compare(old, older, "--output", str(page), capsys=capsys)  # of one version
    assert (code, err) == (0, "")
    assert "▲ better" in out


def test_a_metric_that_only_one_run_has(tmp_path: Path) -> None:
    first, second = store_run(tmp_path, 1), store_run(tmp_path, 2, **JUDGED)
    runs = load_run(first.run_uri), load_run(second.run_uri)
    assert find_comparable_metrics(*runs) == (["chrf", "words", "empty"], {"judge": "only one run has it"})
    assert find_comparable_metrics(*runs[::-1])[1] == {"judge": "only one run has it"}


def test_a_run_with_itself_differs_in_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = store_run(tmp_path, 1)
    page = tmp_path / "p.html"
    code, out, _ = run_compare(first.run_uri, first.run_uri, "--output", str(page), capsys=capsys)
    assert code == 0
    assert "worse" not in out.partition("\n")[2]
    assert "No image differs in" in page.read_text()


def test_other_images_cannot_be_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = store_run(tmp_path, 1), store_run(tmp_path, 2, dataset__seed=7)
    code, out, err = run_compare(first.run_uri, second.run_uri, "--output", str(tmp_path / "p.html"), capsys=capsys)
    assert (code, out) == (2, "")
    assert err == (
        f"{first.run_uri} and {second.run_uri}: not over one golden set ({first.golden_id} and {second.golden_id}), "
        "so no image can be compared; validate both with one suite\n"
    )
    assert not (tmp_path / "p.html").exists()


@pytest.mark.parametrize("missing", ["record.json", "scores.json", "spec.json"])
def test_an_incomplete_run(tmp_path: Path, missing: str, capsys: pytest.CaptureFixture[str]) -> None:
    first = store_run(tmp_path, 1)
    objects.delete(f"{first.run_uri}/{missing}")
    code, _, err = run_compare(first.run_uri, first.run_uri, capsys=capsys)
    assert code == 2
    assert err == f"run {first.run_uri}: no {missing} there; name a published run's folder or its record.json\n"


def test_a_run_of_another_version(tmp_path: Path) -> None:
    first = store_run(tmp_path, 1)
    objects.write(f"{first.run_uri}/record.json", b'{"old": true}')
    with pytest.raises(InputError, match=r"not a run of this version \(ValidationError\); validate it again"):
        load_run(first.run_uri)


def test_the_plain_spec_of_a_run_comes_before_those_of_forced_requests(tmp_path: Path) -> None:
    """The order of names would put `spec-again.json` before `spec.json`."""
    first = store_run(tmp_path, 1)
    forced_spec = first.model_copy(update={"force": "again"})
    objects.write(forced_spec.uri, forced_spec.model_dump_json().encode())
    assert load_run(first.run_uri).spec.force is None
    assert specs.list_specs(first.run_uri) == [first.uri, forced_spec.uri]
    objects.delete(first.uri)
    assert load_run(first.run_uri).spec.force == "again"


def test_runs_in_a_root_that_has_moved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """This happens when a user copies results from a bucket to look at them locally."""
    first, second = store_run(tmp_path / "there", 1), store_run(tmp_path / "there", 2, shift=1.0)
    shutil.move(tmp_path / "there", tmp_path / "here")
    moved = [spec.run_uri.replace("/there/", "/here/") for spec in (first, second)]
    code, out, err = run_compare(*moved, "--output", str(tmp_path / "p.html"), capsys=capsys)
    assert (code, err) == (0, "")
    assert "▲ better" in out


def test_images_that_only_one_run_captioned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = store_run(tmp_path, 1), store_run(tmp_path, 2)
    (part,) = [
        entry
        for entry in object_listing.iterate_entries(f"{second.scores_uri}/parts")
        if entry.key == "part-00000.parquet"
    ]
    import pyarrow.parquet as pq

    path = Path(second.scores_uri, "parts", part.key)
    pq.write_table(pq.read_table(path).slice(1), path)  # an image less, as another engine's failure leaves it
    uri = f"{second.scores_uri}/manifest.json"
    manifest = artifacts.Manifest.model_validate_json(objects.read(uri))
    described = parts.describe("part-00000", path.read_bytes()), *manifest.parts[1:]
    fewer = {"parts": described, "rows_in": manifest.rows_in - 1, "rows_out": manifest.rows_out - 1}
    manifest = manifest.model_copy(update=fewer)
    objects.write(uri, manifest.model_dump_json().encode())
    scores = artifacts.Scores.model_validate_json(objects.read(f"{second.run_uri}/scores.json"))
    objects.write(
        f"{second.run_uri}/scores.json", scores.model_copy(update={"manifest": manifest}).model_dump_json().encode()
    )
    _, out, _ = run_compare(first.run_uri, second.run_uri, "--output", str(tmp_path / "p.html"), capsys=capsys)
    assert next(line for line in out.splitlines() if line.startswith("chrf")).endswith("23")


def test_on_a_bucket(s3: str, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = store_run(s3, 1), store_run(s3, 2, shift=1.0)
    code, _, err = run_compare(first.run_uri, second.run_uri, "--output", f"{s3}/page.html", capsys=capsys)
    assert (code, err) == (0, "")
    assert b"COMPARISON" in objects.read(f"{s3}/page.html")


def test_it_needs_neither_ray_nor_an_engine() -> None:
    code = "import sys, ray_jobs.compare; print({'ray', 'vllm', 'torch'} & set(sys.modules))"
    root = Path(__file__).parents[3]
    process = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert process.stdout == "set()\n"
