"""The prompt as the model's own chat template writes it, and the number of tokens that prove the image is inside."""

from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from ray_jobs.checkpoint import fetch
from ray_jobs.contract import BadInput, Checkpoint

TEXT = "assay text goes here"


@lru_cache(maxsize=4)
def maker_for(checkpoint: Checkpoint) -> "PromptMaker":
    """The prompt maker of a checkpoint, loaded once a process."""
    return PromptMaker(fetch(checkpoint), checkpoint.uri)


class PromptMaker:
    """Writes prompts for one checkpoint; every text goes where its chat template puts a user's words."""

    def __init__(self, model: Path, uri: str) -> None:
        from transformers import AutoProcessor  # takes seconds, and a job's driver writes no prompt

        self.model, self.uri = model, uri
        self._sizes: dict[tuple[int, int], int] = {}
        try:
            self.processor: Any = AutoProcessor.from_pretrained(model, local_files_only=True)
        except Exception as error:  # the library raises whatever its loaders raise
            text = " ".join(str(error).split())[:300]
            raise BadInput(
                f"checkpoint {uri}: its processor does not load: {text}; save it beside the model"
            ) from error
        self.tokenizer: Any = getattr(self.processor, "tokenizer", None)
        if self.tokenizer is None or not hasattr(self.processor, "image_processor"):
            raise BadInput(
                f"checkpoint {uri}: it has no image processor, so it cannot see; name a vision-language model"
            )

    def prompt(self, text: str) -> str:
        """The whole prompt for one image and a user's text; special tokens inside the text are made harmless."""
        before, after = self._frame
        return before + self.harmless(text) + after

    def harmless(self, text: str) -> str:
        """The text with special tokens broken up: a caption must not be able to end the judge's turn."""
        for token in self._special:
            text = text.replace(token, token[0] + " " + token[1:])
        return text

    def expected_tokens(self, prompt: str, width: int, height: int) -> int:
        """The least number of tokens that the prompt has when the model was given its image."""
        return len(self.tokenizer(prompt, add_special_tokens=False).input_ids) - 1 + self._image_tokens(width, height)

    @property
    def stop_ids(self) -> frozenset[int]:
        """Token ids that end an answer: one of them last means the model stopped by itself."""
        configured = self._generation.get("eos_token_id")
        ids = configured if isinstance(configured, list) else [configured]
        return frozenset(token for token in [*ids, self.tokenizer.eos_token_id] if token is not None)

    @cached_property
    def _frame(self) -> tuple[str, str]:
        content = [{"type": "image"}, {"type": "text", "text": TEXT}]
        whole = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        before, found, after = whole.partition(TEXT)
        if not found:
            raise BadInput(f"checkpoint {self.uri}: its chat template drops the user's text; mend chat_template.jinja")
        return before, after

    @cached_property
    def _special(self) -> list[str]:
        return sorted((token for token in self.tokenizer.all_special_tokens if len(token) > 1), key=len, reverse=True)

    @cached_property
    def _generation(self) -> dict[str, Any]:
        from transformers import GenerationConfig

        try:
            return dict(GenerationConfig.from_pretrained(self.model).to_dict())
        except OSError:
            return {}

    def _image_tokens(self, width: int, height: int) -> int:
        if (width, height) not in self._sizes:
            counts = self.processor._get_num_multimodal_tokens(image_sizes=[[height, width]])
            self._sizes[width, height] = int(counts["num_image_tokens"][0])
        return self._sizes[width, height]
