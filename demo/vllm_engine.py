"""Asks checkpoints in one vLLM engine on the CPU, whose weights are swapped. `demo.evaluate` and benchmarks use it."""

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")

from PIL import Image
from vllm import LLM, SamplingParams
from vllm.sampling_params import StructuredOutputsParams


def start(checkpoint: Path) -> LLM:
    """An engine in float32, in which vLLM's greedy captions equal transformers'; bfloat16 differs on a few in 200."""
    return LLM(
        str(checkpoint),
        trust_remote_code=False,
        dtype="float32",
        max_model_len=512,
        max_num_seqs=64,
        enforce_eager=True,
        limit_mm_per_prompt={"image": 1, "video": 0},
        seed=0,
    )


def swap(llm: LLM, checkpoint: Path) -> None:
    """Load other weights into the running engine. Tokenizer, processor and config stay, so they must be equal."""
    llm.collective_rpc("reload_weights", kwargs={"weights_path": str(checkpoint.resolve())})
    llm.reset_prefix_cache()
    # reload_weights empties the worker's encoder cache but not the scheduler's record of it: without this the next
    # image seen before kills the engine ("Encoder cache miss")
    llm.llm_engine.reset_encoder_cache()


def ask(
    llm: LLM,
    questions: list[tuple[Image.Image, str]],
    schema: dict[str, Any] | str | None = None,
    temperature: float = 0.0,
    seed: int | None = None,
) -> list[str]:
    """The answer to each (image, prompt): greedy by default, and bound to the JSON schema if there is one."""
    structured = StructuredOutputsParams(json=schema) if schema else None
    sampling = [
        SamplingParams(
            temperature=temperature,
            seed=None if seed is None else seed * len(questions) + number,  # with one seed all would draw alike
            max_tokens=128,
            structured_outputs=structured,
        )
        for number in range(len(questions))
    ]
    chats = [
        [{"role": "user", "content": [{"type": "image_pil", "image_pil": image}, {"type": "text", "text": prompt}]}]
        for image, prompt in questions
    ]
    return [reply.outputs[0].text for reply in llm.chat(chats, sampling, use_tqdm=False)]
