"""Captions that wait for their scores."""

from pathlib import Path

import pytest
from samples import make_spec
from scored_images import CAPTIONS, GOLDEN, JUDGED, make_answer
from stored_captions import write_captions, write_golden

from ray_jobs.contract.spec import Spec
from ray_jobs.judge import rubric
from ray_jobs.metrics import score_part as part


@pytest.fixture
def captioned_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spec:
    """Four images: right, wrong with a useless answer, without references, without a caption."""
    spec = make_spec(root=str(tmp_path), **JUDGED)
    write_golden(spec, GOLDEN)
    write_captions(spec, CAPTIONS)
    answers = {
        "a": rubric.parse_answer(spec.suite.judge, make_answer(True, False), None),
        "b": rubric.parse_answer(spec.suite.judge, "no JSON", None),
        "c": rubric.parse_answer(spec.suite.judge, None, "engine-error"),
    }
    monkeypatch.setattr(part, "load_judgements", lambda spec, caption_id, part: answers)
    return spec
