"""The examples of docs/how-to/ask-for-fields.md work."""

import json
import logging
import re
from pathlib import Path

import pytest
import yaml
from samples import make_spec

from ray_jobs.caption import warn_of_long_answers
from ray_jobs.contract.field_schema import complete_schema
from ray_jobs.contract.parse_suite import parse_suite
from ray_jobs.metrics import CaptionContext, custom

PAGE = (Path(__file__).parents[3] / "docs" / "how-to" / "ask-for-fields.md").read_text()


def block(language: str) -> str:
    match = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert match
    return match[1]


def test_its_suite_with_its_schema() -> None:
    schema = json.loads(block("json"))
    suite = yaml.safe_load(block("yaml")) | {"name": "s"}
    suite["caption"]["fields"] = schema
    suite_parsed = parse_suite(yaml.safe_dump(suite, sort_keys=False), "s")
    assert suite_parsed.caption.fields == complete_schema(schema)


def test_its_own_metric() -> None:
    metric = custom.load_metrics({"off_by": block("python")})["off_by"]
    answer = CaptionContext("a", 1, "stop", fields={"count": 2}, truth={"count": 5})
    assert custom.measure_image(metric, answer, "a.png") == 3
    assert custom.measure_image(metric, CaptionContext("a", 1, "stop", truth={"count": 5}), "a.png") == 20
    assert not metric.has_inputs(CaptionContext("a", 1, "stop", fields={"count": 2}))


@pytest.mark.parametrize(("most", "warned"), [(15, True), (16, False)])
def test_a_schema_of_longer_answers_than_max_tokens_is_reported(
    most: int, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    schema = {"properties": {"a": {"type": "string", "maxLength": 50}}}  # 61 characters with its key
    with caplog.at_level(logging.WARNING, "assay"):
        warn_of_long_answers(make_spec(caption__fields=schema, caption__max_tokens=most))
        warn_of_long_answers(make_spec(caption__max_tokens=1))
    assert [record.getMessage()[:54] for record in caplog.records] == [
        "caption.fields: an answer may have 61 characters, and "
    ] * warned
