"""Asks a checkpoint in transformers, which decodes greedily without a grammar.

`demo.evaluate_fields` compares vLLM's answers with these.
"""

from pathlib import Path

import torch
from PIL import Image
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

MOST_TOKENS = 128
AT_ONCE = 64  # images


def decode(checkpoint: Path, images: list[Image.Image], prompt: str) -> list[str]:
    """The answer to the prompt on each image, in float32. Images are of one size, so no prompt needs padding."""
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        checkpoint, dtype=torch.float32, trust_remote_code=False
    ).eval()
    processor = AutoProcessor.from_pretrained(checkpoint, trust_remote_code=False)
    content = [{"type": "image"}, {"type": "text", "text": prompt}]
    question = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    answers: list[str] = []
    for first in range(0, len(images), AT_ONCE):
        batch = images[first : first + AT_ONCE]
        inputs = processor(text=[question] * len(batch), images=batch, return_tensors="pt")
        with torch.no_grad():
            tokens = model.generate(**inputs, max_new_tokens=MOST_TOKENS, do_sample=False)
        answers += processor.batch_decode(tokens[:, inputs.input_ids.shape[1] :], skip_special_tokens=True)
    return answers
