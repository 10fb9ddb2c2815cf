"""Finds special tokens in a suite's own prompts. Such prompts are refused.

A chat template puts in the image and the marks of the turns. Where a prompt holds them too, copied from a notebook, the
engine must break them up, because a caption inside a judge's question must not end its turn; and the model then reads a
mutilated text. So both planes refuse such a prompt: the well-known marks below as soon as the suite is read, whatever
the model, and the tokens of the checkpoint's own tokenizer at `plan`, as far as its small files name them
(`checkpoints/special_tokens.py`), and at the start of the job, when the tokenizer is loaded. Every other text is text.
"""

import re
from collections.abc import Iterable, Mapping

from ray_jobs.contract.suite import Suite
from ray_jobs.inputs.names import printable

SHOWN = 5  # tokens that a line names
WELL_KNOWN = re.compile(
    r"<\|[^\s<>|]{1,40}\|>"  # <|image_pad|>, <|im_start|>, <|user|>
    r"|<｜[^<>｜]{1,40}｜>"
    r"|</?(?:image|img|video|audio|s|bos|eos|pad|im_start|im_end|im_patch|image_soft_token|start_of_image|end_of_image"
    r"|image_placeholder|IMG_CONTEXT|ImageHere|fake_token_around_image|end_of_utterance|start_of_turn|end_of_turn)>"
    r"|<(?:image|img|video)[_ -]?\d{1,3}>"
    r"|\[/?(?:IMG|IMG_BREAK|IMG_END|INST|SYSTEM_PROMPT|AVAILABLE_TOOLS)\]"
    r"|<</?SYS>>"
)
OF_AN_IMAGE = re.compile("im(age|g)|vision|video|patch", re.IGNORECASE)


def texts_for_model(suite: Suite) -> dict[str, str]:
    """Returns the suite's prompt for the checkpoint under test, by setting."""
    return {"caption.prompt": suite.caption.prompt}


def texts_for_judge(suite: Suite) -> dict[str, str]:
    """Returns the suite's prompts for its judge, by setting."""
    judge = suite.judge
    pair = {"judge.pairwise_prompt": judge.pairwise_prompt} if judge.pairwise else {}
    return {"judge.prompt": judge.prompt, **pair} if judge.kind != "none" else {}


def find_fault(texts: Mapping[str, str], tokens: Iterable[str] = ()) -> str | None:
    """Returns the fault of the first text that holds one of these tokens or a well-known one; None if none does."""
    special = list(tokens)
    for setting, text in texts.items():
        places = [(place.start(), place[0]) for place in WELL_KNOWN.finditer(text)]
        places += [(text.index(token), token) for token in special if token in text]
        if present := list(dict.fromkeys(token for _, token in sorted(places))):
            listed = ", ".join(printable(token, 60) for token in present[:SHOWN])
            who = "the image is" if any(map(OF_AN_IMAGE.search, present)) else "the marks of turns are"
            them = "it" if len(present) == 1 else "them"
            return f"{setting} holds {listed}: {who} put in by the chat template; take {them} out"
    return None
