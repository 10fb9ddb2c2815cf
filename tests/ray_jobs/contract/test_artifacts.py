from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError
from samples import make_record, make_spec

from ray_jobs.contract.artifacts import Manifest
from ray_jobs.storage.record_summary import summarise_record


def manifest(**fields: Any) -> Manifest:
    plain: dict[str, Any] = {"stage": "golden", "id": "x", "parts": (), "created_at": datetime.now(UTC)}
    return Manifest(**(plain | fields))


def test_a_manifest_that_does_not_add_up_is_refused() -> None:
    assert manifest(rows_in=10, rows_out=7, lost={"empty": 2, "corrupt": 1}).rows_out == 7
    for rows_in, rows_out, lost_counts in ((10, 7, {"empty": 2}), (10, 10, {"empty": 1}), (9, 10, {})):
        with pytest.raises(ValidationError, match="in, "):
            manifest(rows_in=rows_in, rows_out=rows_out, lost=lost_counts)


def test_the_stored_key_of_the_scoring_id_is_that_of_before() -> None:
    record = make_record(make_spec())
    for model in (record, summarise_record(record)):
        stored = model.model_dump(mode="json")
        assert (stored["scale_id"], "scoring_id" in stored) == (record.scoring_id, False)
        assert type(model).model_validate(stored) == model
