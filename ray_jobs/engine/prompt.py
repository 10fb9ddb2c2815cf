"""Writes prompts by the model's own chat template, and counts the tokens that prove that the image is inside.

Every process that renders calls it: the actor and its renderers, the Ray tasks of the cold engine and of the audit, the
probe and the checks. It reads only files beside the weights, and runs none of the checkpoint's Python code.
"""

from contextlib import suppress
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from ray_jobs.checkpoints.node_cache import fetch
from ray_jobs.contract.spec import Checkpoint
from ray_jobs.inputs.errors import InputError

SAMPLE_TEXT = "assay text goes here"


@lru_cache(maxsize=4)
def prompt_builder_for(checkpoint: Checkpoint) -> "PromptBuilder":
    """The prompt builder of a checkpoint, loaded once per process."""
    return PromptBuilder(fetch(checkpoint), checkpoint.uri)


class ImageRefused(Exception):
    """The model's processor refuses an image of this size; the message is the processor's."""


class PromptBuilder:
    """Writes prompts for one checkpoint of any model family, by the checkpoint's processor and chat template.

    Raises InputError if the processor does not load or cannot take images.
    """

    def __init__(self, path: Path, uri: str) -> None:
        from transformers import AutoProcessor  # takes seconds, and most drivers write no prompt

        self.path, self.uri = path, uri
        self._added: dict[tuple[int, int], int] = {}  # tokens that an image adds, by (width, height)
        try:
            self.processor: Any = AutoProcessor.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        except Exception as error:  # each of the library's loaders has its own errors
            mend = "install it on the Ray cluster" if isinstance(error, ImportError) else "save it beside the model"
            fault = f"its processor does not load: {_format_error(error)}"
            raise InputError(f"checkpoint {uri}: {fault}; {mend}") from error
        self.tokenizer: Any = getattr(self.processor, "tokenizer", None)
        if self.tokenizer is None or not hasattr(self.processor, "image_processor"):
            raise InputError(
                f"checkpoint {uri}: it has no image processor, so it cannot see; name a vision-language model"
            )

    def prompt(self, text: str) -> str:
        """The whole prompt for one image and a user's text, in which special tokens are escaped."""
        return self._write(self.escape_special_tokens(text), self._in_parts)

    def tokens(self, prompt: str) -> list[int]:
        """The prompt's token ids, with the image's placeholder. The token that begins every text (`<s>`) is there once.

        This is the rule of transformers' `apply_chat_template`: the tokenizer adds that token unless the template did.
        """
        begins = self.tokenizer.bos_token
        written = begins is not None and prompt.startswith(begins)
        return list(self.tokenizer(prompt, add_special_tokens=not written).input_ids)

    def escape_special_tokens(self, text: str) -> str:
        """The text with a space inside each special token, so that a caption cannot end the judge's turn."""
        for token in self.special_tokens:
            text = text.replace(token, token[0] + " " + token[1:])
        return text

    def least_tokens(self, prompt: str, width: int, height: int) -> int:
        """The least number of tokens that the prompt has once its image is inside. Raises ImageRefused."""
        if (width, height) not in self._added:
            self._added[width, height] = self._count_added_tokens(width, height)
        return len(self.tokens(prompt)) + self._added[width, height]

    @property
    def stop_ids(self) -> frozenset[int]:
        """Token ids that end an answer. If the last token is one of them, the model stopped by itself."""
        configured = self._generation.get("eos_token_id")
        ids = configured if isinstance(configured, list) else [configured]
        return frozenset(token for token in [*ids, self.tokenizer.eos_token_id] if token is not None)

    def _write(self, text: str, in_parts: bool) -> str:
        parts = [{"type": "image"}, {"type": "text", "text": text}]
        turn = {"role": "user", "content": parts if in_parts else f"{self._image_token}\n{text}"}
        return str(self.processor.apply_chat_template([turn], tokenize=False, add_generation_prompt=True))

    @cached_property
    def _in_parts(self) -> bool:
        """Whether the chat template takes image and text as parts of a turn. If not, the text has the placeholder.

        Raises InputError if the template fails, or drops the image or the text.
        """
        why = "drops the user's text"
        for in_parts in (True, False):
            try:
                whole = self._write(SAMPLE_TEXT, in_parts)
            except Exception as error:  # a template can raise any error
                why = f"fails: {_format_error(error)}"
                continue
            if SAMPLE_TEXT in whole and whole.count(self._image_token) == 1:
                return in_parts
            if SAMPLE_TEXT in whole:
                why = f"drops the image ({self._image_token})"
        raise InputError(f"checkpoint {self.uri}: its chat template {why}; mend chat_template.jinja")

    @cached_property
    def _image_token(self) -> str:
        """The placeholder of an image in a prompt. The processor later replaces it by the image's tokens."""
        token = getattr(self.processor, "image_token", None)
        if not token:
            raise InputError(f"checkpoint {self.uri}: its processor names no image token; save it with its tokenizer")
        return str(token)

    @cached_property
    def special_tokens(self) -> list[str]:
        """The tokens that no text may contain, the longest first."""
        added = {str(token) for token in self.tokenizer.added_tokens_decoder.values() if token.special}
        tokens = {*self.tokenizer.all_special_tokens, *added, self._image_token}
        return sorted((token for token in tokens if len(token) > 1), key=lambda token: (-len(token), token))

    @cached_property
    def _generation(self) -> dict[str, Any]:
        from transformers import GenerationConfig

        try:
            return dict(GenerationConfig.from_pretrained(self.path, trust_remote_code=False).to_dict())
        except OSError:
            return {}

    def _count_added_tokens(self, width: int, height: int) -> int:
        """How many tokens longer the prompt gets when the image replaces its placeholder. Raises ImageRefused.

        Some processors cannot count these tokens, and others fail to with an unusual image processor. Then a prompt
        with a blank image is processed and measured.
        """
        with suppress(Exception):
            counts = self.processor._get_num_multimodal_tokens(image_sizes=[[height, width]])
            placeholder = self.tokenizer(self._image_token, add_special_tokens=False).input_ids
            return int(counts["num_image_tokens"][0]) - len(placeholder)
        prompt, blank = self.prompt(SAMPLE_TEXT), Image.new("RGB", (width, height))
        try:
            whole = self.processor(text=[prompt], images=[blank])["input_ids"][0]
        except Exception as error:  # the processor can raise any error
            raise ImageRefused(_format_error(error)) from error
        return len(whole) - len(self.tokenizer(prompt).input_ids)


def _format_error(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
