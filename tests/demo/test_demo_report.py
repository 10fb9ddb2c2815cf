import json
import math
from pathlib import Path

import pytest

from demo import fields_report, report, scenes
from demo.report import Verdict

ALL = dict.fromkeys(scenes.VALUES, True)


def verdict(truth: dict[str, bool] | None = None, judged_count: dict[str, bool] | None = None) -> Verdict:
    return Verdict({**ALL, **(truth or {})}, {**ALL, **(judged_count or {})})


def test_no_valid_answer_is_right_in_nothing() -> None:
    silent = Verdict(ALL, None)
    assert not silent.is_all_right()
    assert not any(silent.is_right(name) for name in scenes.VALUES)


def test_wilsons_interval() -> None:
    # 0.1 of 10: the textbook's 0.018 to 0.404
    assert report.format_interval([True] + [False] * 9) == "0.018 to 0.404"


def test_correlation() -> None:
    assert report.compute_correlation([(0, 1), (1, 3), (2, 5)]) == pytest.approx(1)
    assert report.compute_correlation([(0, 1), (1, 0)]) == pytest.approx(-1)
    assert math.isnan(report.compute_correlation([(1, 1), (1, 2)]))


def test_attribute_rows_distinguish_caught_errors_from_false_alarms() -> None:
    kinds: dict[str, list[Verdict]] = {kind: [] for kind in ("right", *scenes.VALUES, "any number", "another image's")}
    kinds["right"] = [verdict(), verdict(judged_count={"count": False})]  # one false alarm
    kinds["count"] = [verdict({"count": False}, {"count": False}), verdict({"count": False})]  # one caught, one not
    (row, *_) = report.list_attribute_rows(kinds)
    assert row == ["count", "0.500", "1 of 2 (0.500)", "1 of 2", "0.500"]


def test_captioner_rows() -> None:
    truths = scenes.list_held_out_scenes()[:2]
    right = [scenes.write_caption(truth) for truth in truths]
    (row,) = report.list_captioner_rows(truths, {"step-0001": [right[0], "nonsense"]})
    assert row[:2] == ["step-0001", "0.500"]
    assert row[3:] == ["0.500"] * 7


def test_results_are_those_of_the_committed_checkpoints(demo: Path) -> None:
    text = (demo / "RESULTS.md").read_text()
    for checkpoint in (demo / "checkpoints").iterdir():
        assert f"| {checkpoint.name} | " in text
    trained = [json.loads(line)["checkpoint"] for line in (demo / "training.jsonl").read_text().splitlines()]
    assert set(trained) >= {"judge", *(path.name for path in (demo / "checkpoints").iterdir())}


def test_results_on_fields_are_those_of_the_committed_checkpoints(demo: Path) -> None:
    text = fields_report.find_section((demo / "RESULTS.md").read_text())
    lines = [line.split(" | ") for line in text.splitlines()]
    checkpoints = {path.name for path in (demo / "checkpoints-fields").iterdir()}
    measured = {(line[0].removeprefix("| "), line[1]): line[2:] for line in lines if len(line) == 8}
    decoders = ("vLLM, held to the schema", "transformers, free")
    assert measured.keys() >= {(checkpoint, decoder) for checkpoint in checkpoints for decoder in decoders}
    trained = [json.loads(line) for line in (demo / "training-fields.jsonl").read_text().splitlines()]
    assert {run["checkpoint"] for run in trained} == checkpoints
    assert all(f"| {run['checkpoint']} | {run['command']} | " in text for run in trained)
