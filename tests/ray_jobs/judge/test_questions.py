"""The list of a part's questions: equal in every process, each question once, with a key that depends on content
alone."""

import re
from pathlib import Path

from judge_inputs import make_judge_spec, with_baseline, write_judge_inputs

from ray_jobs.judge.questions import build_caption_questions, build_pair_questions, build_questions

URL = "http://h/v1"
SIX = {f"image-{number}": f"caption {number}" for number in range(6)}


def test_a_key_depends_on_image_and_text_alone(tmp_path: Path) -> None:
    spec = write_judge_inputs(make_judge_spec(str(tmp_path), URL), SIX)
    two = write_judge_inputs(
        make_judge_spec(str(tmp_path), URL, "step-2"), SIX | {"image-1": "caption 0", "image-2": "other"}
    )
    ours, theirs = (
        {
            image.image_id: image.questions[0].key
            for image in build_caption_questions(spec, spec.caption_id, "part-00000")
        }
        for spec in (spec, two)
    )
    assert all(re.fullmatch("[0-9a-f]{32}", key) for key in ours.values())
    assert ours["image-0"] == theirs["image-0"]
    assert ours["image-2"] != theirs["image-2"]
    assert theirs["image-0"] != theirs["image-1"]  # the same caption of another image
    assert len(build_questions(spec, [spec.caption_id, two.caption_id], "part-00000")) == 4 + 2


def test_pairs_are_asked_in_both_orders_about_images_that_both_captioned(tmp_path: Path) -> None:
    spec = write_judge_inputs(make_judge_spec(str(tmp_path), URL, pairwise=True), SIX | {"image-3": None})
    captions = {"image-0": "caption 0", "image-1": None, "image-2": "other", "image-3": "x"}
    two = with_baseline(
        write_judge_inputs(make_judge_spec(str(tmp_path), URL, "step-2", pairwise=True), captions), spec
    )
    pairs = {image.image_id: image.questions for image in build_pair_questions(two, "part-00000")}
    assert {name: len(questions) for name, questions in pairs.items()} == {"image-0": 0, "image-2": 2}
    first, second = pairs["image-2"]
    assert first.text.index("caption 2") < first.text.index("other")
    assert second.text.index("caption 2") > second.text.index("other")
    assert first.is_pair
    assert first.key != second.key
    assert build_pair_questions(spec, "part-00000") == []  # no baseline


def test_an_image_with_no_caption_at_all_has_no_question(tmp_path: Path) -> None:
    spec = write_judge_inputs(make_judge_spec(str(tmp_path), URL), dict.fromkeys(SIX))
    assert build_questions(spec, [spec.caption_id], "part-00000") == []
