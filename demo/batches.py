"""Training batches: fresh scenes, and the question and answer tokens that go with them."""

import random
from dataclasses import dataclass, field

import torch
from transformers import PreTrainedTokenizerFast

from demo import judging, scenes
from demo.model import IMAGE_TOKENS, patches

IGNORED = -100  # cross_entropy's mark for "no loss here"


@dataclass
class Batches:
    """Draws batches. `judge_share` of the rows ask for a verdict, the others for a caption.

    `shuffled` gives each image the caption of another one in the batch: a training run gone wrong.
    """

    tokenizer: PreTrainedTokenizerFast
    rng: random.Random
    judge_share: float = 0.0
    shuffled: bool = False
    _tokens: dict[str, list[int]] = field(default_factory=dict)

    def encode(self, text: str) -> list[int]:
        if text not in self._tokens:
            self._tokens[text] = self.tokenizer(text, add_special_tokens=False).input_ids
        return self._tokens[text]

    def before_image(self) -> list[int]:
        return self.encode("<|im_start|>user\n<|vision_start|>")

    def question(self, prompt: str) -> list[int]:
        """The tokens the chat template and the processor make of one image and a prompt."""
        image = [self.tokenizer.convert_tokens_to_ids("<|image_pad|>")] * IMAGE_TOKENS
        return [
            *self.before_image(),
            *image,
            # not cached: the judge's prompts hardly ever repeat
            *self.tokenizer(f"<|vision_end|>{prompt}", add_special_tokens=False).input_ids,
            *self.encode("<|im_end|>\n<|im_start|>assistant\n"),
        ]

    def row(self, scene: scenes.Scene) -> tuple[list[int], list[int]]:
        """Question and answer tokens for one scene."""
        if self.rng.random() < self.judge_share:
            text = judging.planted(scene, self.rng)
            prompt, answer = judging.PROMPT.format(caption=text), judging.answer(scene, text)
        else:
            prompt, answer = scenes.CAPTION_PROMPT, scenes.caption(scene)
        end = self.tokenizer.convert_tokens_to_ids("<|im_end|>")
        return self.question(prompt), [*self.encode(answer), end]

    def next(self, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(patches, token ids, labels) of `size` training scenes; labels are IGNORED outside the answers."""
        drawn = [scenes.training_scene(self.rng) for _ in range(size)]
        pixels = patches([scenes.draw(scene, self.rng) for scene in drawn])
        described = self.rng.sample(drawn, size) if self.shuffled else drawn
        rows = [self.row(scene) for scene in described]
        length = max(len(question) + len(answer) for question, answer in rows)
        ids = torch.full((size, length), self.tokenizer.pad_token_id)
        labels = torch.full((size, length), IGNORED)
        for i, (question, answer) in enumerate(rows):
            end = len(question) + len(answer)
            ids[i, :end] = torch.tensor(question + answer)
            labels[i, len(question) : end] = torch.tensor(answer)
        return pixels, ids, labels
