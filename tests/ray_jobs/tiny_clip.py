"""A tiny CLIP model of random weights, with a tokenizer of whole words."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, PreTrainedTokenizerFast

WORDS = ["<|startoftext|>", "<|endoftext|>", "<unk>", "A", "photo", "depicts", *(f"w{number}" for number in range(94))]


def save_tiny_clip(path: Path, positions: int = 16, seed: int = 0) -> Path:
    """Save the model in the directory. It reads `positions` tokens, including the two at the ends."""
    torch.manual_seed(seed)
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {"vocab_size": len(WORDS), "max_position_embeddings": positions, "bos_token_id": 0, "eos_token_id": 1,
            "pad_token_id": 1}  # fmt: skip
    config = CLIPConfig(
        text_config=size | text, vision_config=size | {"image_size": 16, "patch_size": 8}, projection_dim=12
    )
    CLIPModel(config).save_pretrained(path)
    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token=WORDS[0], eos_token=WORDS[1], pad_token=WORDS[1], unk_token="<unk>"
    ).save_pretrained(path)
    CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}).save_pretrained(path)
    return path
