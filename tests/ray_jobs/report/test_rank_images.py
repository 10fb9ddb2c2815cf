"""The one pass over the scores: the largest changes, the distributions, and the failures."""

from pathlib import Path

import numpy as np
import pytest
from samples import make_spec
from stored_runs import CaptionResult, Image, write_golden, write_run

from ray_jobs.contract.spec import Spec
from ray_jobs.inputs.errors import InputError
from ray_jobs.report.rank_images import MAX_RANKED, ScanResult, Side, scan_scores
from ray_jobs.storage import manifests

CHRF, JUDGE, EMPTY = ("chrf", 1), ("judge", 1), ("empty", -1)


def sides(
    root: Path, new: list[CaptionResult], old: list[CaptionResult] | None, rows: int = 4
) -> tuple[Spec, Side, Side | None]:
    spec = make_spec(root=str(root))
    images = [Image(f"{number:04d}") for number in range(len(new))]
    write_golden(spec, images, rows=rows)
    sides_found = []
    for name, results in (("new", new), ("old", old)):
        if results is not None:
            write_run(spec, name, images, results, rows=rows)
            sides_found.append(Side(name, spec.captions_uri_of(name), spec.scores_uri_of(name)))
    return spec, sides_found[0], sides_found[1] if old is not None else None


def values(*chrf: float | None, **others: float) -> list[CaptionResult]:
    return [CaptionResult(values={"chrf": value} | others) for value in chrf]


def scan(
    root: Path, new: list[CaptionResult], old: list[CaptionResult] | None, *rank_by: tuple[str, int]
) -> ScanResult:
    _, candidate, baseline = sides(root, new, old)
    names = [manifests.name_of_part(number) for number in range(-(-len(new) // 4))]
    return scan_scores(names, candidate, baseline, ["chrf"], rank_by or (CHRF,))


def test_the_most_changed_over_all_parts(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    old, new = generator.normal(50, 9, 90), generator.normal(50, 9, 90)
    result = scan(tmp_path, values(*new), values(*old))
    order = np.argsort(new - old, kind="stable")
    assert [int(example.image_id) for example in result.worse] == order[:MAX_RANKED].tolist()
    assert [int(example.image_id) for example in result.better] == order[::-1][:MAX_RANKED].tolist()
    assert result.worse[0].value == pytest.approx((new - old).min())
    assert result.worse[0].part == manifests.name_of_part(int(result.worse[0].image_id) // 4)


def test_only_what_changed_is_shown(tmp_path: Path) -> None:
    result = scan(tmp_path, values(1, 2, 3, 4, 5), values(1, 3, 2, 4, 5))
    assert [example.image_id for example in result.worse] == ["0001"]
    assert [example.image_id for example in result.better] == ["0002"]


def test_less_is_better_of_some_metrics(tmp_path: Path) -> None:
    new = [CaptionResult(values={"empty": value}) for value in (1.0, 0.0)]
    old = [CaptionResult(values={"empty": value}) for value in (0.0, 1.0)]
    result = scan(tmp_path, new, old, EMPTY)
    assert ([example.image_id for example in result.worse], [example.image_id for example in result.better]) == (
        ["0000"],
        ["0001"],
    )


def test_the_second_metric_orders_what_the_first_has_alike(tmp_path: Path) -> None:
    new = [CaptionResult(values={"judge": 0.0, "chrf": chrf}) for chrf in (40.0, 10.0, 30.0)]
    old = [CaptionResult(values={"judge": 1.0, "chrf": 50.0})] * 3
    result = scan(tmp_path, new, old, JUDGE, CHRF)
    assert [example.image_id for example in result.worse] == ["0001", "0002", "0000"]
    assert result.better == []


def test_missing_values_have_no_rank(tmp_path: Path) -> None:
    result = scan(tmp_path, values(None, 2, float("nan"), 1), values(5, None, 5, 5))
    assert [example.image_id for example in result.worse] == ["0003"]
    assert result.candidate["chrf"].n == 2
    assert result.baseline["chrf"].n == 3


def test_without_a_baseline_the_lowest_and_the_highest(tmp_path: Path) -> None:
    result = scan(tmp_path, values(*range(30)), None)
    assert [int(example.image_id) for example in result.worse] == list(range(MAX_RANKED))
    assert [int(example.image_id) for example in result.better] == list(range(29, 19, -1))
    assert result.baseline == {}


def test_one_image_without_a_baseline_is_shown_once(tmp_path: Path) -> None:
    result = scan(tmp_path, values(1.0), None)
    assert (len(result.worse), len(result.better)) == (1, 0)


def test_rows_in_another_order_and_images_the_baseline_lacks(tmp_path: Path) -> None:
    spec, candidate, _ = sides(tmp_path, values(1, 2, 3), None)
    other = [Image("0002"), Image("gone"), Image("0000")]
    write_run(spec, "old", other, values(9, 9, 0))
    baseline = Side("old", spec.captions_uri_of("old"), spec.scores_uri_of("old"))
    result = scan_scores(["part-00000"], candidate, baseline, ["chrf"], [CHRF])
    assert [(example.image_id, example.value) for example in result.worse] == [("0002", -6.0)]
    assert [(example.image_id, example.value) for example in result.better] == [("0000", 1.0)]


def test_failures_a_few_of_each_reason(tmp_path: Path) -> None:
    silent = CaptionResult(values={"chrf": 1.0}, failure="judge-silent")
    nothing = CaptionResult(None, failure="engine-error")
    result = scan(tmp_path, [silent] * 9 + [nothing] * 9, None)
    assert [(example.reason, example.image_id) for example in result.lost] == [
        ("judge-silent", "0000"), ("judge-silent", "0001"), ("judge-silent", "0002"),
        ("no-caption", "0009"), ("no-caption", "0010"), ("no-caption", "0011"),
    ]  # fmt: skip


def test_nothing_to_rank_by(tmp_path: Path) -> None:
    _, candidate, _ = sides(tmp_path, values(1.0), None)
    result = scan_scores(["part-00000"], candidate, None, ["chrf", "judge"], [])
    assert result.worse == result.better == []
    assert result.candidate["judge"].n == 0  # a metric that the parts do not have


def test_a_part_that_is_missing_says_so(tmp_path: Path) -> None:
    _, candidate, baseline = sides(tmp_path, values(1.0), values(2.0))
    assert baseline
    Path(manifests.uri_of_part(baseline.scores_uri, "part-00000")).unlink()
    with pytest.raises(InputError, match="the part is missing though its manifest names it"):
        scan_scores(["part-00000"], candidate, baseline, ["chrf"], [CHRF])
