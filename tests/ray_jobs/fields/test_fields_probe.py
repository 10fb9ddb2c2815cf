"""A grammar and a checkpoint's tokenizer, tried as the confined probe tries them before an engine starts."""

import json
import shutil
from pathlib import Path

import pytest
from field_schemas import WHOLE
from stage_jobs import GOOD

from ray_jobs.contract.field_schema import complete_schema
from ray_jobs.engine.probe.probe_process import Fault, try_grammar
from ray_jobs.fields.grammar import write_grammar

pytestmark = pytest.mark.slow  # for what it imports

GRAMMAR = write_grammar(complete_schema(WHOLE))


def test_a_grammar_that_the_tokenizer_can_be_held_to() -> None:
    steps: list[str] = []
    try_grammar(GOOD, GRAMMAR, steps.append)
    assert steps == ["caption.fields"]


def test_a_grammar_that_does_not_compile_is_reported() -> None:
    message = r"does not compile for its tokenizer \(.*not defined.*\); take caption\.fields out of the suite"
    with pytest.raises(Fault, match=message) as error:
        try_grammar(GOOD, "root ::= foo", lambda _: None)
    assert len(str(error.value).splitlines()) == 1


def test_a_tokenizer_without_a_brace_is_reported(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(GOOD, tmp_path / "mute", ignore=shutil.ignore_patterns("*.safetensors*")))
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    for token in [token for token in vocabulary if token.startswith("{")]:
        vocabulary[f"\u0120\u0120{token}"] = vocabulary.pop(token)
    tokenizer["model"]["merges"] = []
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(Fault, match="its tokenizer has no token that begins a JSON object"):
        try_grammar(folder, GRAMMAR, lambda _: None)
