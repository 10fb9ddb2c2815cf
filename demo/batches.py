"""Training batches: fresh scenes, and the question and answer tokens that go with them."""

import random
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from transformers import PreTrainedTokenizerFast

from demo import fields, judge_task, scenes
from demo.model import IMAGE_TOKENS, cut_patches
from demo.scenes import VALUES

IGNORED = -100  # cross_entropy's mark for "no loss here"


NO_VALUE = 0  # the value of every attribute in a caption outside the grammar
VALUE = {pair: i for i, pair in enumerate(((n, v) for n, values in VALUES.items() for v in values), start=1)}


class Row(NamedTuple):
    question: list[int]
    answer: list[int]
    value_pairs: list[tuple[int, int]]


class Batch(NamedTuple):
    """The tensors of a batch.

    `pixels` are patches (images, 64, 588). `ids` and `labels` have the shape (rows, tokens); labels outside the answers
    are IGNORED. `value_pairs` (verdicts, 2) has for every verdict, in order, the caption's value and the image's value.
    """

    pixels: torch.Tensor
    ids: torch.Tensor
    labels: torch.Tensor
    value_pairs: torch.Tensor


def compare(scene: scenes.Scene, text: str) -> list[tuple[int, int]]:
    """For each attribute the number of the value in the text, and the number of the true value."""
    described = scenes.parse(text)
    return [(VALUE[n, described[n]] if described else NO_VALUE, VALUE[n, scene[n]]) for n in VALUES]


@dataclass
class Batches:
    """Draws batches. `judge_share` of the rows ask for a verdict, `fields_share` for fields, the others for a caption.

    Two settings make a faulty training run. `has_shuffled_captions` gives each image the caption of another image of
    the batch. `has_confused_colours` gives the field `colour` a wrong value.
    """

    tokenizer: PreTrainedTokenizerFast
    rng: random.Random
    judge_share: float = 0.0
    fields_share: float = 0.0
    has_shuffled_captions: bool = False
    has_confused_colours: bool = False
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

    def row(self, scene: scenes.Scene, layout: scenes.Layout) -> Row:
        """Question and answer tokens for one scene."""
        kind = self.rng.random()
        if kind < self.judge_share:
            text = judge_task.plant_errors(scene, self.rng)
            prompt, answer, compared = (
                judge_task.PROMPT.format(caption=text),
                judge_task.write_answer(scene, text),
                compare(scene, text),
            )
        elif kind < self.judge_share + self.fields_share:
            right = fields.derive_fields(scene, layout)
            written = fields.confuse(right) if self.has_confused_colours else right
            prompt, answer, compared = fields.PROMPT, fields.write_answer(written), []
        else:
            prompt, answer, compared = scenes.CAPTION_PROMPT, scenes.write_caption(scene), []
        end = self.tokenizer.convert_tokens_to_ids("<|im_end|>")
        return Row(self.question(prompt), [*self.encode(answer), end], compared)

    def next(self, size: int) -> Batch:
        """`size` training scenes."""
        drawn = [scenes.draw_training_scene(self.rng) for _ in range(size)]
        laid_out = [(scene, scenes.lay_out(scene, self.rng)) for scene in drawn]
        pixels = cut_patches([scenes.paint(scene, layout) for scene, layout in laid_out])
        rows = [
            self.row(*pair) for pair in (self.rng.sample(laid_out, size) if self.has_shuffled_captions else laid_out)
        ]
        length = max(len(row.question) + len(row.answer) for row in rows)
        ids = torch.full((size, length), self.tokenizer.pad_token_id)
        labels = torch.full((size, length), IGNORED)
        for i, row in enumerate(rows):
            end = len(row.question) + len(row.answer)
            ids[i, :end] = torch.tensor(row.question + row.answer)
            labels[i, len(row.question) : end] = torch.tensor(row.answer)
        compared = torch.tensor([pair for row in rows for pair in row.value_pairs]).view(-1, 2)
        return Batch(pixels, ids, labels, compared)
