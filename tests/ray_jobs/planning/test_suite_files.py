"""The files that a suite names travel in the spec, or are refused."""

from pathlib import Path

import pytest
from planning_place import Place

from ray_jobs.inputs.errors import InputError


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_the_suites_own_metrics_travel_in_the_spec(place: Place) -> None:
    model = place.checkpoint("step-1")
    (place.folder / "politeness.py").write_text("METRIC = 1\n")
    (place.folder / "names.json").write_text('{"cat": ["kitten", "tom"]}')
    place.suite({"metrics": {"own": ["politeness.py"], "synonyms": "names.json", "clip": place.checkpoint("clip")}})
    planned_spec = place.plan(model)
    assert planned_spec.own_metrics == {"politeness": "METRIC = 1\n"}
    assert planned_spec.synonyms == {"cat": ("kitten", "tom")}
    assert planned_spec.clip
    assert planned_spec.clip.name == "clip"
    (place.folder / "politeness.py").write_text("METRIC = 2\n")
    changed_spec = place.plan(model)
    assert (changed_spec.scoring_id != planned_spec.scoring_id, changed_spec.caption_id) == (
        True,
        planned_spec.caption_id,
    )


@pytest.mark.parametrize(
    ("settings", "text", "message"),
    [
        ({"own": ["x.py"]}, None, "metric .*x.py: no such file; correct the suite"),
        ({"own": ["x.py"]}, b"\xff\xfe", "metric .*x.py: not UTF-8 text; correct the file"),
        ({"synonyms": "x.py"}, None, "synonyms .*x.py: no such file; correct the suite"),
        (
            {"synonyms": "x.py"},
            b"[1]",
            "synonyms .*x.py: not a JSON object of lists of names by label; correct the file",
        ),
        ({"synonyms": "x.py"}, b'{"a": "b"}', "synonyms .*x.py: not a JSON object of lists"),
    ],
)
def test_files_that_the_metrics_need(
    place: Place, settings: dict[str, object], text: bytes | None, message: str
) -> None:
    if text is not None:
        (place.folder / "x.py").write_bytes(text)
    place.suite({"metrics": settings})
    with pytest.raises(InputError, match=message):
        place.plan(place.checkpoint("step-1"))


def test_a_judge_behind_an_endpoint_is_no_checkpoint(place: Place) -> None:
    place.suite({"judge": {"kind": "openai", "model": "judge-1", "base_url": "http://127.0.0.1:1/v1"}})
    planned_spec = place.plan(place.checkpoint("step-1"))
    assert (planned_spec.judge, planned_spec.suite.judge.model) == (None, "judge-1")
