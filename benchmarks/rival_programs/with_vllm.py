"""Captions a folder of images with vLLM alone, of any version; prints one line of JSON.

    ENVIRONMENT/bin/python benchmarks/rival_programs/with_vllm.py generate|expert|asynchronous INPUTS

INPUTS is the file that `benchmarks.rivals` writes. `expert` sets what a user can: vLLM compiles the vision encoder too,
and captures graphs for any number of sequences.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from PIL import Image

WARM_IMAGES = 64


def open_prompts(inputs: dict[str, Any]) -> list[dict[str, Any]]:
    images = [Image.open(file).convert("RGB") for file in sorted(Path(inputs["images"]).iterdir())]
    return [{"prompt": inputs["prompt"], "multi_modal_data": {"image": image}} for image in images]


def list_arguments(style: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """vLLM's EngineArgs."""
    arguments: dict[str, Any] = {"model": inputs["model"], **inputs["engine"]}
    if style == "expert" and inputs["compilation"]:
        arguments["compilation_config"] = inputs["compilation"]
    return arguments


def caption_all(style: str, inputs: dict[str, Any]) -> dict[str, Any]:
    from vllm import LLM, SamplingParams

    start = time.time()
    llm = LLM(trust_remote_code=False, **list_arguments(style, inputs))
    start = time.time() - start
    sampling = SamplingParams(max_tokens=inputs["max_tokens"], temperature=0, ignore_eos=True)
    prompts = open_prompts(inputs)
    llm.generate(prompts[:WARM_IMAGES], sampling, use_tqdm=False)
    began = time.time()
    outputs = llm.generate(open_prompts(inputs), sampling, use_tqdm=False)
    took = time.time() - began
    return {"took": took, "start": start, "tokens": sum(len(output.outputs[0].token_ids) for output in outputs)}


async def caption_asynchronously(inputs: dict[str, Any]) -> dict[str, Any]:
    from vllm import AsyncEngineArgs, SamplingParams
    from vllm.v1.engine.async_llm import AsyncLLM

    start = time.time()
    llm = AsyncLLM.from_engine_args(AsyncEngineArgs(trust_remote_code=False, **list_arguments("asynchronous", inputs)))
    start = time.time() - start
    sampling = SamplingParams(max_tokens=inputs["max_tokens"], temperature=0, ignore_eos=True)
    room = asyncio.Semaphore(int(1.5 * inputs["engine"]["max_num_seqs"]))

    async def caption(prompt: dict[str, Any], name: str) -> int:
        tokens = 0
        async with room:
            async for output in llm.generate(prompt, sampling, name):
                tokens = len(output.outputs[0].token_ids)
        return tokens

    prompts = open_prompts(inputs)
    await asyncio.gather(*(caption(prompt, f"warm-{number}") for number, prompt in enumerate(prompts[:WARM_IMAGES])))
    began = time.time()
    counts = await asyncio.gather(*(caption(prompt, str(number)) for number, prompt in enumerate(open_prompts(inputs))))
    took = time.time() - began
    llm.shutdown()
    return {"took": took, "start": start, "tokens": sum(counts)}


if __name__ == "__main__":
    inputs = json.loads(Path(sys.argv[2]).read_text())
    if sys.argv[1] == "asynchronous":
        result = asyncio.run(caption_asynchronously(inputs))
    else:
        result = caption_all(sys.argv[1], inputs)
    import vllm

    print(json.dumps(result | {"version": vllm.__version__}), flush=True)
    os._exit(0)
