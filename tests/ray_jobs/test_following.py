"""What a caption job tells its engine about the series that it belongs to. The engine is a stand-in."""

from pathlib import Path
from typing import Any

import pytest
from samples import make_spec
from stored_captions import write_golden

from ray_jobs import caption
from ray_jobs.contract.spec import Spec
from ray_jobs.engine.chosen_settings import expect_workload
from ray_jobs.engine.client.stream import PartStream
from ray_jobs.job import frame


@pytest.mark.parametrize("following", [None, "s3://in/step-300"])
def test_the_engine_is_reported_which_checkpoint_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, following: str | None
) -> None:
    spec, hints = make_spec(root=str(tmp_path)).model_copy(update={"next_checkpoint": following}), []

    def capture_hint(*_: Any, **options: Any) -> PartStream:
        hints.append(options)
        return PartStream(iter(()), {}, 0.0, whole_parts=True)

    write_golden(spec, [{"image_id": "a"}])
    monkeypatch.setattr(caption, "stream_parts", capture_hint)
    monkeypatch.setattr(caption, "probe_captions", lambda _: None)  # there is no checkpoint
    monkeypatch.setattr(frame, "join_cluster", lambda _: None)
    monkeypatch.setattr(caption, "commit", lambda *_: None)
    caption.caption(spec)
    caption_section = spec.suite.caption
    workload = expect_workload(spec.suite.preprocess, caption_section.prompt, caption_section.max_tokens)
    assert hints == [{"next_checkpoint": following, "workload": workload}]


def test_the_stored_key_of_the_next_checkpoint_is_that_of_before(tmp_path: Path) -> None:
    stored = (
        make_spec(root=str(tmp_path)).model_copy(update={"next_checkpoint": "s3://in/step-300"}).model_dump(mode="json")
    )
    assert (stored["following"], "next_checkpoint" in stored) == ("s3://in/step-300", False)
    assert Spec.model_validate(stored).next_checkpoint == "s3://in/step-300"
