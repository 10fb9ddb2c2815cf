"""Writes the config and the processor of Qwen3-VL's published 4B geometry, around the demo's tokenizer.

`geometry.write_checkpoints` calls it for `qwen3`, and for `qwen3-tiny`, which tries the benchmarks on a CPU.
"""

import json
from pathlib import Path
from typing import Any

VISION = {
    "depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_heads": 16, "out_hidden_size": 2560,
    "num_position_embeddings": 2304, "deepstack_visual_indexes": [5, 11, 17],
}  # fmt: skip
TEXT = {
    "hidden_size": 2560, "intermediate_size": 9728, "num_attention_heads": 32, "num_hidden_layers": 36,
    "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936, "max_position_embeddings": 32768,
    "tie_word_embeddings": True,
}  # fmt: skip
SECTIONS = [24, 20, 20]  # of the rotary position: time, height, width
TINY_VISION = {
    "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 64,
    "num_position_embeddings": 64, "deepstack_visual_indexes": [0],
}  # fmt: skip
TINY_TEXT = {
    "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 2, "num_hidden_layers": 2,
    "num_key_value_heads": 1, "head_dim": 32, "max_position_embeddings": 2048, "tie_word_embeddings": False,
}  # fmt: skip
TINY_SECTIONS = [6, 5, 5]
IDS = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")


def write_config(target: Path, demo: Path, tiny: bool) -> None:
    """Write config.json and the processor's files into a folder that has the demo's tokenizer and chat template."""
    from transformers import (
        AutoTokenizer,
        Qwen2VLImageProcessor,
        Qwen3VLConfig,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    of_demo = json.loads((demo / "config.json").read_text())
    for name in ("preprocessor_config.json", "processor_config.json"):
        (target / name).unlink(missing_ok=True)
    words = AutoTokenizer.from_pretrained(target, trust_remote_code=False)
    text: dict[str, Any] = (TINY_TEXT if tiny else TEXT) | {
        name: of_demo["text_config"][name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")
    }
    text.setdefault("vocab_size", len(words))
    text["rope_parameters"] = {
        "rope_type": "default", "rope_theta": 5e6, "mrope_section": TINY_SECTIONS if tiny else SECTIONS,
        "mrope_interleaved": True,
    }  # fmt: skip
    ids = {
        name: of_demo.get(name, words.convert_tokens_to_ids(f"<|{name.removesuffix('_token_id')}|>")) for name in IDS
    }
    vision = (TINY_VISION if tiny else VISION) | {"patch_size": 16}
    config = Qwen3VLConfig(
        text_config=text, vision_config=vision, tie_word_embeddings=text["tie_word_embeddings"], dtype="bfloat16",
        architectures=["Qwen3VLForConditionalGeneration"], **ids,
    )  # fmt: skip
    config.save_pretrained(target)
    images = Qwen2VLImageProcessor(
        size={"shortest_edge": 32 * 32 * 4, "longest_edge": 32 * 32 * 2048}, patch_size=16, image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )  # fmt: skip
    Qwen3VLProcessor(images, words, Qwen3VLVideoProcessor(), chat_template=words.chat_template).save_pretrained(target)
