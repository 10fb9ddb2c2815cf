"""Finds special tokens in a suite's own prompts. Both planes refuse such a prompt.

The chat template puts in the image and the marks of the turns. A prompt that was copied from a notebook may hold them
too. The engine would have to escape them, because a caption inside a judge's question must not end its turn. The model
would then read an odd text. A prompt is checked three times:

- When the suite is read, against the well-known tokens below, whatever the model is.
- At `plan`, against the tokens that the small files of the checkpoint name (`checkpoints/special_tokens.py`).
- At the start of the job, against the tokens of the loaded tokenizer.
"""

import re
from collections.abc import Iterable, Mapping

from ray_jobs.contract.suite import Suite
from ray_jobs.inputs.names import printable

MAX_SHOWN = 5  # tokens in an error line
WELL_KNOWN = re.compile(
    r"<\|[^\s<>|]{1,40}\|>"  # <|image_pad|>, <|im_start|>, <|user|>
    r"|<｜[^<>｜]{1,40}｜>"
    r"|</?(?:image|img|video|audio|s|bos|eos|pad|im_start|im_end|im_patch|image_soft_token|start_of_image|end_of_image"
    r"|image_placeholder|IMG_CONTEXT|ImageHere|fake_token_around_image|end_of_utterance|start_of_turn|end_of_turn)>"
    r"|<(?:image|img|video)[_ -]?\d{1,3}>"
    r"|\[/?(?:IMG|IMG_BREAK|IMG_END|INST|SYSTEM_PROMPT|AVAILABLE_TOOLS)\]"
    r"|<</?SYS>>"
)
IMAGE_TOKEN = re.compile("im(age|g)|vision|video|patch", re.IGNORECASE)


def texts_for_model(suite: Suite) -> dict[str, str]:
    """Returns the suite's prompt for the checkpoint under test, by setting."""
    return {"caption.prompt": suite.caption.prompt}


def texts_for_judge(suite: Suite) -> dict[str, str]:
    """Returns the suite's prompts for its judge, by setting."""
    judge = suite.judge
    pair = {"judge.pairwise_prompt": judge.pairwise_prompt} if judge.pairwise else {}
    return {"judge.prompt": judge.prompt, **pair} if judge.kind != "none" else {}


def find_token_fault(texts: Mapping[str, str], tokens: Iterable[str] = ()) -> str | None:
    """Returns the fault of the first text that holds one of these tokens or a well-known one; None if none does."""
    special = list(tokens)
    for setting, text in texts.items():
        places = [(place.start(), place[0]) for place in WELL_KNOWN.finditer(text)]
        places += [(text.index(token), token) for token in special if token in text]
        if present := list(dict.fromkeys(token for _, token in sorted(places))):
            listed = ", ".join(printable(token, 60) for token in present[:MAX_SHOWN])
            subject = "the image is" if any(map(IMAGE_TOKEN.search, present)) else "the marks of turns are"
            them = "it" if len(present) == 1 else "them"
            return f"{setting} holds {listed}: {subject} put in by the chat template; take {them} out"
    return None
