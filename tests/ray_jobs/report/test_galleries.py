"""The images that the report shows: one of each kind with its count, and the others folded."""

import re
from pathlib import Path

import numpy as np
from judged_run import make_judged_run
from report_case import ReportCase, make_images, make_results

from ray_jobs.report.galleries import MAX_PARTS, MAX_WORSE, choose_images
from ray_jobs.report.image_kinds import ImageKinds, RankedImage


def list_groups(html: str) -> list[tuple[str, str]]:
    return re.findall(r"<h3>(.*?) <small>(.*?)</small></h3>", html)


def test_one_image_of_each_kind_and_the_others_folded(tmp_path: Path) -> None:
    case = make_judged_run(tmp_path)
    assert list_groups(case.html) == [
        ("background wrong", "9 images"),
        ("colour wrong", "2 images"),
        ("three or more things wrong", "1 image"),
        ("shape and background wrong", "1 image"),
        ("background right", "1 image"),
    ]
    assert re.findall(r"<summary>(Show all.*?)</summary>", case.html) == ["Show all 9", "Show all 2"]
    folded = "".join(re.findall(r'<details class="more"><summary>Show all.*?</details>', case.html, re.DOTALL))
    assert folded.count('<li class="case">') == 8 + 1
    assert case.html.count('<li class="case">') == 13 + 1


def test_the_judges_line_has_the_missed_criteria_and_does_not_repeat_the_reference(tmp_path: Path) -> None:
    case = make_judged_run(tmp_path)
    assert case.text.count("judge wrong: background exact_match") == 9 + 1  # 9 candidates and one baseline
    assert "judge wrong: shape, background" in case.text
    assert "judge nothing wrong" in case.text
    assert "judge a red square" not in case.text  # the rationale is a reference
    assert case.text.count("judge the square is blue") == 1


def test_images_are_not_grouped_where_no_yes_or_no_metric_changed(tmp_path: Path) -> None:
    case = ReportCase(tmp_path, make_images(30), make_results(30, shift=-40), make_results(30))
    assert list_groups(case.html) == []
    assert case.html.count('<li class="case">') == 10


def test_what_is_listed_comes_from_ten_parts_and_the_page_says_how_many_there_are(tmp_path: Path) -> None:
    case = make_judged_run(tmp_path, count=90, backgrounds=70)  # in parts of four images
    assert ("background wrong", "70 images") in list_groups(case.html)
    (listed,) = re.findall(r"<summary>Show (\d+) of 70</summary>", case.html)
    assert 1 < int(listed) <= 4 * MAX_PARTS
    assert case.html.count('<li class="case">') <= 4 * MAX_PARTS + 1


def test_at_most_sixty_images_are_chosen(tmp_path: Path) -> None:
    kinds = ImageKinds(-1, ["a", "b"])
    kinds.add(
        lambda column: RankedImage(-1.0, 0.0, f"{column}", "part-00000"), np.array([[-1] * 80, [0] * 70 + [-1] * 10])
    )
    chosen = choose_images(kinds, kinds.list_kinds(), MAX_WORSE)
    assert {kind: len(images) for kind, images in chosen.items()} == {("a",): MAX_WORSE - 1, ("a", "b"): 1}
