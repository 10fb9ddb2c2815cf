"""Read the special tokens of a checkpoint from its tokenizer's files, so that `plan` can look for them in prompts.

`plan` calls this in the control plane. A tokenizer.json of more than 10 MB is not read here, because the job has the
tokenizer itself before it asks for a GPU.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from ray_jobs.checkpoints import config_files, errors
from ray_jobs.contract.prompt_tokens import find_token_fault, texts_for_judge, texts_for_model
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.contract.suite import Suite
from ray_jobs.inputs.errors import InputError

FILES = ("tokenizer_config.json", "special_tokens_map.json", "tokenizer.json")
LISTS = ("additional_special_tokens", "extra_special_tokens")
MAY_HOLD = re.compile(r"[<>\[\]|#@$_/]|[A-Z]{3}")  # characters that special tokens are written with


def check_prompts(suite: Suite, checkpoint: Checkpoint, judge: Checkpoint | None) -> None:
    """Raise InputError if a prompt contains a special token that the files of the prompt's model name."""
    for texts, model in ((texts_for_model(suite), checkpoint), (texts_for_judge(suite), judge)):
        if (
            model
            and any(map(MAY_HOLD.search, texts.values()))
            and (fault := find_token_fault(texts, read_special_tokens(model)))
        ):
            raise InputError(fault)


def read_special_tokens(checkpoint: Checkpoint) -> set[str]:
    """Return the tokens that the files name as special. A missing, too large or unreadable file counts as empty."""
    tokens = set[str]()
    for model in filter(None, (checkpoint, checkpoint.base)):
        for name in FILES:
            with suppress(InputError, FileNotFoundError, errors.Incomplete):
                tokens |= set(_list_tokens(config_files.read_json(f"{model.uri}/{name}", model.uri)))
    return {token for token in tokens if len(token) > 1}


def _list_tokens(settings: Any) -> Iterable[str]:
    """Yield the special tokens in the content of one of FILES, in any of the forms that tokenizers use."""
    for name, value in settings.items() if isinstance(settings, dict) else ():
        if name in ("added_tokens_decoder", "added_tokens"):
            yield from (
                _read_content(token) for token in _list_items(value) if isinstance(token, dict) and token.get("special")
            )
        elif name in LISTS:
            yield from map(_read_content, _list_items(value))
        elif name.endswith("_token"):
            yield _read_content(value)


def _list_items(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _read_content(token: Any) -> str:
    """Return the text of a token, which is either a string or an object with `content`."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else ""
