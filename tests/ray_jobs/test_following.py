"""What a captions job tells its engine of the series that it belongs to; the engine is a stand-in here."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from making import spec
from scored import write_golden

from ray_jobs import caption


@pytest.mark.parametrize("following", [None, "s3://in/step-300"])
def test_the_engine_is_told_which_checkpoint_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, following: str | None
) -> None:
    made, told = spec(root=str(tmp_path)).model_copy(update={"following": following}), []

    def asked(*_: Any, **options: Any) -> Iterator[Any]:
        told.append(options)
        return iter(())

    write_golden(made, [{"image_id": "a"}])
    monkeypatch.setattr(caption, "stream_parts", asked)
    monkeypatch.setattr(caption, "probe", lambda *_, **__: None)  # there is no checkpoint
    monkeypatch.setattr(caption, "commit", lambda *_: None)
    caption.caption(made)
    assert told == [{"following": following}]
