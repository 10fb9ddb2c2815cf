"""A tiny checkpoint with random weights for each model family, saved as a user's is: `FAMILIES`.

    python -m tests.ray_jobs.engine.families FOLDER

Architectures, processors, special tokens and chat templates are those of the model named beside each family; widths,
pictures and vocabularies are tiny. Seeds are fixed, so a family is the same checkpoint each time.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessor,
    Gemma3Processor,
    GotOcr2ImageProcessor,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessor,
    Idefics3Processor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
    SiglipVisionConfig,
)
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

CORPUS = ["describe the image in one sentence", "user assistant model system User Assistant: USER: ASSISTANT:"]
WIDTH = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2}
TEXT = WIDTH | {"num_key_value_heads": 1, "max_position_embeddings": 2048, "tie_word_embeddings": False}
EYE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}"
    "{{ message['content'] }}{% else %}{% for part in message['content'] %}{% if part['type'] == 'image' %}IMAGE"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN = ["<|im_start|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]


def qwen2_5_vl(folder: Path) -> None:
    """Qwen2.5-VL-3B-Instruct: its vision encoder, too, has a width that is no multiple of 16."""
    words = tokenizer(QWEN, template=CHATML.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>"))
    eye = {"depth": 2, "hidden_size": 32, "intermediate_size": 42, "num_heads": 2, "out_hidden_size": 64,
           "patch_size": 14, "window_size": 56, "fullatt_block_indexes": [1]}  # fmt: skip
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 6, 6]}
    text = TEXT | token_ids_of(words) | {"rope_parameters": rope}
    config = Qwen2_5_VLConfig(text_config=text, vision_config=eye, **qwen_ids(words))
    pictures = Qwen2VLImageProcessor(size={"shortest_edge": 28 * 28 * 4, "longest_edge": 28 * 28 * 64})
    processor = Qwen2_5_VLProcessor(pictures, words, Qwen2VLVideoProcessor(), chat_template=words.chat_template)
    save(folder, Qwen2_5_VLForConditionalGeneration, config, processor)


def qwen3_vl(folder: Path) -> None:
    """Qwen3-VL-4B-Instruct."""
    words = tokenizer(QWEN, template=CHATML.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>"))
    eye = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 64,
           "patch_size": 16, "num_position_embeddings": 64, "deepstack_visual_indexes": [0]}  # fmt: skip
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [6, 5, 5], "mrope_interleaved": True}
    text = TEXT | token_ids_of(words) | {"head_dim": 32, "rope_parameters": rope}
    config = Qwen3VLConfig(text_config=text, vision_config=eye, **qwen_ids(words))
    normed = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "patch_size": 16}
    pictures = Qwen2VLImageProcessor(size={"shortest_edge": 32 * 32 * 4, "longest_edge": 32 * 32 * 64}, **normed)
    processor = Qwen3VLProcessor(pictures, words, Qwen3VLVideoProcessor(), chat_template=words.chat_template)
    save(folder, Qwen3VLForConditionalGeneration, config, processor)


def llava(folder: Path) -> None:
    """LLaVA-1.5-7b: CLIP crops each picture to a square. The tokenizer adds `<s>` at the beginning, the template
    does not."""
    template = (
        "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': ' }}"
        "{% endif %}{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}"
        "{{ '<image>\n' }}{% endfor %}{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
        "{{ content['text'] + ' ' }}{% endfor %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
    )
    words = tokenizer(["<image>"], {"image_token": "<image>"}, begins="<s>", ends="</s>", template=template)
    eye = CLIPVisionConfig(**EYE, image_size=56, patch_size=14, projection_dim=32)
    config = LlavaConfig(
        vision_config=eye.to_dict(),
        text_config={"model_type": "llama"} | TEXT | token_ids_of(words),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
    )
    pictures = CLIPImageProcessor(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56})
    how = {"patch_size": 14, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    processor = LlavaProcessor(pictures, words, chat_template=template, **how)
    save(folder, LlavaForConditionalGeneration, config, processor)
    as_published(folder)


def internvl(folder: Path) -> None:
    """InternVL3-1B-hf: each picture is cut into up to twelve tiles, with itself as a thumbnail beside them."""
    tokens = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>",
             "video_token": "<video>"}  # fmt: skip
    template = CHATML.replace("IMAGE", "{{ '<IMG_CONTEXT>\n' }}")
    words = tokenizer(["<|im_start|>", *tokens.values()], tokens, template=template)
    eye = EYE | {"image_size": [56, 56], "patch_size": [14, 14]}
    config = InternVLConfig(
        vision_config=eye,
        text_config={"model_type": "qwen2"} | TEXT | token_ids_of(words),
        image_token_id=words.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    pictures = GotOcr2ImageProcessor(size={"height": 56, "width": 56}, crop_to_patches=True, max_patches=12)
    processor = InternVLProcessor(pictures, words, InternVLVideoProcessor(), image_seq_length=4, chat_template=template)
    save(folder, InternVLForConditionalGeneration, config, processor)


def smolvlm(folder: Path) -> None:
    """SmolVLM-256M-Instruct, which is an Idefics3: tiles in rows and columns, each with its own tag."""
    tags = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    special = ["<|im_start|>", "<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", *tags]
    template = (
        "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}"
        "{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}"
        "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
        "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
        "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
    )
    words = tokenizer(special, ends="<end_of_utterance>", template=template)
    eye = EYE | {"image_size": 64, "patch_size": 16}
    config = Idefics3Config(
        vision_config=eye,
        text_config={"model_type": "llama"} | TEXT | token_ids_of(words),
        image_token_id=words.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=words.pad_token_id,
    )
    pictures = Idefics3ImageProcessor(size={"longest_edge": 256}, max_image_size={"longest_edge": 64})
    processor = Idefics3Processor(pictures, words, image_seq_len=4, chat_template=template)
    save(folder, Idefics3ForConditionalGeneration, config, processor)


def gemma3(folder: Path) -> None:
    """Gemma 3 4B-it: the template begins with `<bos>`, as the tokenizer does; line breaks are tokens by the number."""
    tokens = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    template = (
        "{{ bos_token }}{%- for message in messages -%}{{ '<start_of_turn>' + message['role'] + '\n' }}"
        "{%- if message['content'] is string -%}{{ message['content'] | trim }}"
        "{%- elif message['content'] is iterable -%}{%- for item in message['content'] -%}"
        "{%- if item['type'] == 'image' -%}{{ '<start_of_image>' }}{%- elif item['type'] == 'text' -%}"
        "{{ item['text'] | trim }}{%- endif -%}{%- endfor -%}{%- endif -%}{{ '<end_of_turn>\n' }}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{'<start_of_turn>model\n'}}{%- endif -%}"
    )
    words = tokenizer(
        ["<start_of_turn>", *tokens.values()], tokens, begins="<bos>", ends="<end_of_turn>", template=template,
        breaks=["\n" * number for number in range(1, 5)],
    )  # fmt: skip
    token_id = words.convert_tokens_to_ids
    text = TEXT | token_ids_of(words) | {"head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 256,
                               "layer_types": ["sliding_attention", "full_attention"]}  # fmt: skip
    config = Gemma3Config(
        text_config=text,
        vision_config=SiglipVisionConfig(**EYE, image_size=56, patch_size=14, vision_use_head=False).to_dict(),
        mm_tokens_per_image=4,
        boi_token_index=token_id("<start_of_image>"),
        eoi_token_index=token_id("<end_of_image>"),
        image_token_index=token_id("<image_soft_token>"),
        tie_word_embeddings=False,
    )
    pictures = Gemma3ImageProcessor(size={"height": 56, "width": 56})
    processor = Gemma3Processor(pictures, words, image_seq_length=4, chat_template=template)
    save(folder, Gemma3ForConditionalGeneration, config, processor)
    as_published(folder)


FAMILIES: dict[str, Callable[[Path], None]] = {
    family.__name__: family for family in (qwen2_5_vl, qwen3_vl, llava, internvl, smolvlm, gemma3)
}


def tokenizer(
    special: list[str],
    tokens: dict[str, str] | None = None,
    begins: str | None = None,
    ends: str = "<|im_end|>",
    template: str = "",
    breaks: list[str] | None = None,
) -> PreTrainedTokenizerFast:
    """Byte-level BPE of ASCII alone, so that any tokens are a text.

    The special `tokens` are attributes of the tokenizer, `breaks` are plain words.
    """
    special = ["<pad>", ends, *([begins] if begins else []), *(token for token in special if token != ends)]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = [chr(code) for code in range(33, 127)] + [
        "\u0120",
        "\u010a",
    ]  # a space and a line break, as bytes are written
    trainer = trainers.BpeTrainer(
        vocab_size=160 + len(special), special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(CORPUS, trainer)
    bpe.add_tokens([AddedToken(word, normalized=False) for word in breaks or []])
    if begins:
        bpe.post_processor = processors.TemplateProcessing(
            single=f"{begins} $A", pair=f"{begins} $A {begins} $B", special_tokens=[(begins, bpe.token_to_id(begins))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=begins,
        eos_token=ends,
        pad_token="<pad>",
        extra_special_tokens=tokens or {},
        chat_template=template,
    )


def token_ids_of(words: PreTrainedTokenizerFast) -> dict[str, Any]:
    """The token ids that the text model's config names."""
    ids = {f"{name}_token_id": getattr(words, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    return {"vocab_size": len(words)} | ids


def qwen_ids(words: PreTrainedTokenizerFast) -> dict[str, Any]:
    names = {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>",
             "vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>"}  # fmt: skip
    return {name: words.convert_tokens_to_ids(token) for name, token in names.items()} | {"tie_word_embeddings": False}


def save(folder: Path, kind: Any, config: Any, processor: Any) -> None:
    """Save a network whose weights are far enough apart that one token is clearly the likeliest and depends on the
    picture.

    No embeddings are tied to the head, as some of the published models' are: a random model would repeat itself.
    """
    torch.manual_seed(0)
    network = kind(config).eval()
    for name, parameter in network.named_parameters():
        if parameter.ndim >= 2:
            wide = "embed" in name or "position" in name or "lm_head" in name
            torch.nn.init.normal_(parameter, std=1.0 if wide else 1.5 * parameter[0].numel() ** -0.5)
    network.save_pretrained(folder)
    processor.save_pretrained(folder)


def as_published(folder: Path) -> None:
    """Name the vision tower's tensors as in the published model; a network trained on from it is saved with them
    too.

    transformers saves a network that was never loaded under its own names, which vLLM does not know.
    """
    file = folder / "model.safetensors"
    renamed = {
        name.replace("vision_tower.", "vision_tower.vision_model."): tensor for name, tensor in load_file(file).items()
    }
    save_file(renamed, file, metadata={"format": "pt"})


if __name__ == "__main__":
    for name, make in FAMILIES.items():
        make(Path(sys.argv[1]) / name)
