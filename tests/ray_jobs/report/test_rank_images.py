"""The one pass over the scores: who got worse and better the most, what is distributed how, what failed."""

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
    made = make_spec(root=str(root))
    images = [Image(f"{number:04d}") for number in range(len(new))]
    write_golden(made, images, rows=rows)
    found = []
    for name, written in (("new", new), ("old", old)):
        if written is not None:
            write_run(made, name, images, written, rows=rows)
            found.append(Side(name, made.captions_uri_of(name), made.scores_uri_of(name)))
    return made, found[0], found[1] if old is not None else None


def values(*chrf: float | None, **others: float) -> list[CaptionResult]:
    return [CaptionResult(values={"chrf": value} | others) for value in chrf]


def looked(
    root: Path, new: list[CaptionResult], old: list[CaptionResult] | None, *rank_by: tuple[str, int]
) -> ScanResult:
    _, candidate, baseline = sides(root, new, old)
    names = [manifests.name_of_part(number) for number in range(-(-len(new) // 4))]
    return scan_scores(names, candidate, baseline, ["chrf"], rank_by or (CHRF,))


def test_the_most_changed_over_all_parts(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    old, new = generator.normal(50, 9, 90), generator.normal(50, 9, 90)
    found = looked(tmp_path, values(*new), values(*old))
    order = np.argsort(new - old, kind="stable")
    assert [int(one.image_id) for one in found.worse] == order[:MAX_RANKED].tolist()
    assert [int(one.image_id) for one in found.better] == order[::-1][:MAX_RANKED].tolist()
    assert found.worse[0].value == pytest.approx((new - old).min())
    assert found.worse[0].part == manifests.name_of_part(int(found.worse[0].image_id) // 4)


def test_only_what_changed_is_shown(tmp_path: Path) -> None:
    found = looked(tmp_path, values(1, 2, 3, 4, 5), values(1, 3, 2, 4, 5))
    assert [one.image_id for one in found.worse] == ["0001"]
    assert [one.image_id for one in found.better] == ["0002"]


def test_less_is_better_of_some_metrics(tmp_path: Path) -> None:
    new = [CaptionResult(values={"empty": value}) for value in (1.0, 0.0)]
    old = [CaptionResult(values={"empty": value}) for value in (0.0, 1.0)]
    found = looked(tmp_path, new, old, EMPTY)
    assert ([one.image_id for one in found.worse], [one.image_id for one in found.better]) == (["0000"], ["0001"])


def test_the_second_metric_orders_what_the_first_has_alike(tmp_path: Path) -> None:
    new = [CaptionResult(values={"judge": 0.0, "chrf": chrf}) for chrf in (40.0, 10.0, 30.0)]
    old = [CaptionResult(values={"judge": 1.0, "chrf": 50.0})] * 3
    found = looked(tmp_path, new, old, JUDGE, CHRF)
    assert [one.image_id for one in found.worse] == ["0001", "0002", "0000"]
    assert found.better == []


def test_missing_values_have_no_rank(tmp_path: Path) -> None:
    found = looked(tmp_path, values(None, 2, float("nan"), 1), values(5, None, 5, 5))
    assert [one.image_id for one in found.worse] == ["0003"]
    assert found.candidate["chrf"].n == 2
    assert found.baseline["chrf"].n == 3


def test_without_a_baseline_the_lowest_and_the_highest(tmp_path: Path) -> None:
    found = looked(tmp_path, values(*range(30)), None)
    assert [int(one.image_id) for one in found.worse] == list(range(MAX_RANKED))
    assert [int(one.image_id) for one in found.better] == list(range(29, 19, -1))
    assert found.baseline == {}


def test_one_image_without_a_baseline_is_shown_once(tmp_path: Path) -> None:
    found = looked(tmp_path, values(1.0), None)
    assert (len(found.worse), len(found.better)) == (1, 0)


def test_rows_in_another_order_and_images_the_baseline_lacks(tmp_path: Path) -> None:
    made, candidate, _ = sides(tmp_path, values(1, 2, 3), None)
    other = [Image("0002"), Image("gone"), Image("0000")]
    write_run(made, "old", other, values(9, 9, 0))
    baseline = Side("old", made.captions_uri_of("old"), made.scores_uri_of("old"))
    found = scan_scores(["part-00000"], candidate, baseline, ["chrf"], [CHRF])
    assert [(one.image_id, one.value) for one in found.worse] == [("0002", -6.0)]
    assert [(one.image_id, one.value) for one in found.better] == [("0000", 1.0)]


def test_failures_a_few_of_each_reason(tmp_path: Path) -> None:
    silent = CaptionResult(values={"chrf": 1.0}, failure="judge-silent")
    nothing = CaptionResult(None, failure="engine-error")
    found = looked(tmp_path, [silent] * 9 + [nothing] * 9, None)
    assert [(one.reason, one.image_id) for one in found.lost] == [
        ("judge-silent", "0000"), ("judge-silent", "0001"), ("judge-silent", "0002"),
        ("no-caption", "0009"), ("no-caption", "0010"), ("no-caption", "0011"),
    ]  # fmt: skip


def test_nothing_to_rank_by(tmp_path: Path) -> None:
    _, candidate, _ = sides(tmp_path, values(1.0), None)
    found = scan_scores(["part-00000"], candidate, None, ["chrf", "judge"], [])
    assert found.worse == found.better == []
    assert found.candidate["judge"].n == 0  # a metric that the parts do not have


def test_a_part_that_is_missing_says_so(tmp_path: Path) -> None:
    _, candidate, baseline = sides(tmp_path, values(1.0), values(2.0))
    assert baseline
    Path(manifests.uri_of_part(baseline.scores_uri, "part-00000")).unlink()
    with pytest.raises(InputError, match="the part is missing though its manifest names it"):
        scan_scores(["part-00000"], candidate, baseline, ["chrf"], [CHRF])
