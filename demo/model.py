"""A tiny Qwen2.5-VL: tokenizer, network, and a checkpoint directory that transformers and vLLM load.

The network is transformers' own. Only the vision tower's forward is written again, batched, because transformers
loops over images; `test_demo_training.py` holds it to the same numbers.
"""

import json
import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessor,
)
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
    Qwen2_5_VisionTransformerPretrainedModel,
    apply_rotary_pos_emb_vision,
)

from demo import judge_task, scenes

GRID = scenes.SIDE // 28  # image tokens a side
IMAGE_TOKENS = GRID**2
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
# Widths are multiples of the heads' 32, for which mrope's sections and the CPU kernels are known to work.
CAPTIONER = {"hidden": 96, "layers": 3, "vision_hidden": 64, "vision_layers": 3}
JUDGE = {"hidden": 128, "layers": 3, "vision_hidden": 96, "vision_layers": 3}

SPECIALS = [
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>"),
    *("<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"),
    *("<|image_pad|>", "<|video_pad|>"),
]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' or 'image' in part or 'image_url' in part %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer for the captions, the prompts and the judge's answers. Other text becomes bytes."""
    rng = random.Random(0)
    corpus = [scenes.write_caption(scene) for scene in scenes.list_scenes()]
    corpus += [
        judge_task.write_answer(scene, scenes.write_caption(judge_task.change_scene(scene, rng)))
        for scene in scenes.list_scenes()
    ]
    corpus += [scenes.CAPTION_PROMPT, judge_task.PROMPT.format(caption=""), "user assistant system\n"] * 2000
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=600, min_frequency=50, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(corpus, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
        additional_special_tokens=SPECIALS[3:],
    )


def build_model(
    tokenizer: PreTrainedTokenizerFast, hidden: int, layers: int, vision_hidden: int, vision_layers: int
) -> Qwen2_5_VLForConditionalGeneration:
    """A freshly initialised network, the same on every call."""
    token_id = tokenizer.convert_tokens_to_ids
    heads = hidden // 32
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": hidden,
        "intermediate_size": 3 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads // 2 if heads % 2 == 0 else 1,
        "max_position_embeddings": 4096,
        "rope_theta": 1e4,
        "rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 6], "rope_type": "default"},
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": token_id("<|im_end|>"),
    }
    vision = {
        "depth": vision_layers,
        "hidden_size": vision_hidden,
        "intermediate_size": 3 * vision_hidden,
        "num_heads": vision_hidden // 32,
        "out_hidden_size": hidden,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "window_size": 112,
        "fullatt_block_indexes": list(range(vision_layers)),
    }
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=token_id("<|image_pad|>"),
        video_token_id=token_id("<|video_pad|>"),
        vision_start_token_id=token_id("<|vision_start|>"),
        vision_end_token_id=token_id("<|vision_end|>"),
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(config)
    for name, parameter in model.named_parameters():
        # transformers' std of 0.02 is made for layers ten times as wide
        if "embed_tokens" in name:
            torch.nn.init.normal_(parameter, std=0.3)
        elif parameter.ndim >= 2 and "lm_head" not in name:
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    return model


def save(model: Qwen2_5_VLForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, directory: Path) -> None:
    """A complete checkpoint directory: bfloat16 in two shards with their index, tokenizer, processor, configs."""
    directory.mkdir(parents=True, exist_ok=True)
    size = sum(parameter.numel() for parameter in model.parameters()) * 2
    trained = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    for part in (model.config, model.config.text_config, model.config.vision_config):
        part.dtype = torch.bfloat16  # else a loaded network would write another config than a new network
    model.to(torch.bfloat16).save_pretrained(directory, max_shard_size=int(size * 0.6))
    model.to(torch.float32)
    model.load_state_dict(trained)  # training continues with the unrounded weights
    tokenizer.save_pretrained(directory)
    Qwen2VLImageProcessor(min_pixels=56 * 56, max_pixels=28 * 28 * 1280).save_pretrained(directory)
    (directory / "processor_config.json").write_text(json.dumps({"processor_class": "Qwen2_5_VLProcessor"}) + "\n")


def load(directory: Path) -> tuple[Qwen2_5_VLForConditionalGeneration, PreTrainedTokenizerFast]:
    """The network in float32, and a new tokenizer, because a loaded tokenizer saves itself differently."""
    return Qwen2_5_VLForConditionalGeneration.from_pretrained(
        directory, dtype=torch.float32, trust_remote_code=False
    ), build_tokenizer()


def cut_patches(images: list[Image.Image]) -> torch.Tensor:
    """(images, 64, 588): the 14-pixel patches in the image processor's order, without its second, equal frame."""
    pixels = (np.stack([np.asarray(image) for image in images]).astype(np.float32) / 255 - MEAN) / STD
    pixels = pixels.reshape(len(images), GRID, 2, 14, GRID, 2, 14, 3).transpose(0, 1, 4, 2, 5, 7, 3, 6)
    return torch.from_numpy(np.ascontiguousarray(pixels.reshape(len(images), 4 * IMAGE_TOKENS, 588)))


def encode_images(tower: Qwen2_5_VisionTransformerPretrainedModel, pixels: torch.Tensor) -> torch.Tensor:
    """The vision tower over a batch of equal images: (images, 64, 588) -> (images, 16, text width)."""
    n_images, n_patches, _ = pixels.shape
    both_frames = tower.patch_embed.proj.weight.sum(2).flatten(1)
    state = F.linear(pixels, both_frames)
    patch = torch.arange(n_patches)
    row = patch // (4 * GRID) * 2 + patch % 4 // 2
    column = patch // 4 % GRID * 2 + patch % 2
    cos, sin = tower.rotary_pos_emb(state, torch.stack([row, column], -1))
    for block in tower.blocks:
        qkv = block.attn.qkv(block.norm1(state)).view(n_images, n_patches, 3, block.attn.num_heads, -1)
        query, key, value = qkv.unbind(2)
        query, key = apply_rotary_pos_emb_vision(query, key, cos, sin)
        seen = F.scaled_dot_product_attention(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2))
        state = state + block.attn.proj(seen.transpose(1, 2).reshape(n_images, n_patches, -1))
        state = state + block.mlp(block.norm2(state))
    merged: torch.Tensor = tower.merger(state.reshape(n_images * n_patches, -1))
    return merged.view(n_images, IMAGE_TOKENS, -1)


def number_positions(length: int, image_start: int) -> torch.Tensor:
    """(3, 1, length): mrope's time, height and width index of each token, the image's tokens on their grid."""
    index = torch.arange(length).expand(3, -1).clone()
    token = torch.arange(IMAGE_TOKENS)
    image = slice(image_start, image_start + IMAGE_TOKENS)
    index[0, image] = image_start
    index[1, image] = image_start + token // GRID
    index[2, image] = image_start + token % GRID
    after = length - image_start - IMAGE_TOKENS
    index[:, image_start + IMAGE_TOKENS :] = image_start + GRID + torch.arange(after)
    return index[:, None]


def compute_states(
    model: Qwen2_5_VLForConditionalGeneration, pixels: torch.Tensor, ids: torch.Tensor, image_start: int
) -> tuple[torch.Tensor, ...]:
    """The language model's inputs, then the states of every layer, each (rows, tokens, width). The last is normed."""
    words = model.model.language_model.embed_tokens(ids)
    seen = encode_images(model.model.visual, pixels)
    inputs = torch.cat([words[:, :image_start], seen, words[:, image_start + IMAGE_TOKENS :]], 1)
    place = number_positions(ids.shape[1], image_start)
    out = model.model.language_model(
        inputs_embeds=inputs, position_ids=place, use_cache=False, output_hidden_states=True
    )
    hidden: tuple[torch.Tensor, ...] = out.hidden_states
    return hidden
