"""Measures vLLM without Assay, with Assay's images and prompts; prints one line of JSON per method.

    .assay/data/bin/python -m benchmarks.plain_vllm generate --spec SPEC    # LLM.generate
    .assay/data/bin/python -m benchmarks.plain_vllm expert --spec SPEC      # LLM.generate with Assay's compilation
    .assay/data/bin/python -m benchmarks.plain_vllm plain --spec SPEC       # AsyncLLM
    .assay/data/bin/python -m benchmarks.plain_vllm rendered --spec SPEC    # Assay's settings, inputs rendered before

With `--engines` and `--wait FOLDER` the process is one of several on a GPU. They begin together, and each answers its
share.
"""

import argparse
import asyncio
import io
import json
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.gpu import Watch
from ray_jobs.contract.sections.engine import Engine
from ray_jobs.contract.spec import Spec
from ray_jobs.engine.chosen_settings import max_sequences
from ray_jobs.engine.prompt import PromptBuilder
from ray_jobs.engine.settings import build_warm_config, choose_compilation, vllm_arguments
from ray_jobs.storage import manifests, objects, parts

ASSAY_ONLY = ("compilation_config",)  # settings that Assay adds to a user's own


def list_prompts(spec: Spec, share: slice) -> list[dict[str, Any]]:
    prompt_builder = PromptBuilder(Path(spec.checkpoint.uri), spec.checkpoint.uri)
    names = [part.name for part in manifests.require_manifest(spec.golden_uri, "golden").parts]
    images = [image.as_py() for name in names for image in parts.read(spec.golden_uri, name, ["image"])["image"]]
    text = prompt_builder.prompt(spec.suite.caption.prompt)
    return [{"prompt": text, "multi_modal_data": {"image": image}} for image in images[share]]


def open_image(prompt: dict[str, Any]) -> dict[str, Any]:
    image = Image.open(io.BytesIO(prompt["multi_modal_data"]["image"])).convert("RGB")
    return prompt | {"multi_modal_data": {"image": image}}


def wait_for_others(wait: str | None, engines: int, mark: str) -> None:
    """Return when all processes have reached this mark."""
    if wait:
        (Path(wait) / f"{mark}-{os.getpid()}").touch()
        while len(list(Path(wait).glob(f"{mark}-*"))) < engines:
            time.sleep(0.02)


def print_result(method: str, began: float, ended: list[float], tokens: int, watch: Watch, start: float) -> None:
    ended.sort()
    first, last = ended[len(ended) // 4], ended[3 * len(ended) // 4]
    print(json.dumps({
        "way": method, "began": began, "ended": ended[-1], "images": len(ended), "tokens": tokens, "start": start,
        "steady": len(ended) / 2 / max(last - first, 1e-9), "busy": watch.busy(first, last),
    }), flush=True)  # fmt: skip


def list_plain_arguments(engine: Engine, has_gpu: bool) -> dict[str, Any]:
    """The user's own settings as vLLM's arguments, without what Assay adds."""
    return {name: value for name, value in vllm_arguments(engine, has_gpu).items() if name not in ASSAY_ONLY}


def generate(spec: Spec, has_gpu: bool, is_expert: bool) -> None:
    from vllm import LLM, SamplingParams

    prompts, settings = list_prompts(spec, slice(None)), spec.suite.caption
    engine_arguments = list_plain_arguments(spec.suite.engine, has_gpu)
    if is_expert and (compilation := choose_compilation(spec.suite.engine, has_gpu)):
        engine_arguments["compilation_config"] = compilation
    start = time.time()
    llm = LLM(spec.checkpoint.uri, trust_remote_code=False, **engine_arguments)
    start = time.time() - start
    sampling = SamplingParams(max_tokens=settings.max_tokens, temperature=0, ignore_eos=True)
    llm.generate([open_image(prompt) for prompt in prompts[:64]], sampling, use_tqdm=False)
    with Watch() as watch:
        began = time.time()
        outputs = llm.generate([open_image(prompt) for prompt in prompts], sampling, use_tqdm=False)
        ended = time.time()
    finish_times = [began + (ended - began) * share / len(outputs) for share in range(1, len(outputs) + 1)]
    method = "LLM.generate, expert" if is_expert else "LLM.generate"
    tokens = sum(len(output.outputs[0].token_ids) for output in outputs)
    print_result(method, began, finish_times, tokens, watch, start)


async def asynchronous(spec: Spec, has_gpu: bool, wait: str | None, engines: int, number: int, method: str) -> None:
    from vllm import AsyncEngineArgs, SamplingParams
    from vllm.sampling_params import RequestOutputKind
    from vllm.v1.engine.async_llm import AsyncLLM

    prompts, settings = list_prompts(spec, slice(number, None, engines)), spec.suite.caption
    start = time.time()
    if method == "plain":
        engine_arguments = list_plain_arguments(spec.suite.engine, has_gpu)
        llm = AsyncLLM.from_engine_args(
            AsyncEngineArgs(model=spec.checkpoint.uri, trust_remote_code=False, **engine_arguments)
        )
    else:
        llm = AsyncLLM.from_vllm_config(build_warm_config(spec.suite.engine, has_gpu, spec.checkpoint.uri))
    start = time.time() - start
    sampling = SamplingParams(
        max_tokens=settings.max_tokens, temperature=0, ignore_eos=True, output_kind=RequestOutputKind.FINAL_ONLY
    )

    async def measure_requests(name: str, rendered: Callable[[int], Awaitable[Any]]) -> None:
        room, ended, tokens = asyncio.Semaphore(int(1.5 * max_sequences(spec.suite.engine, has_gpu))), [], 0

        async def generate_caption(number: int) -> None:
            nonlocal tokens
            async with room:
                async for output in llm.generate(await rendered(number), sampling, f"{name}-{number}"):
                    tokens += len(output.outputs[0].token_ids)
                ended.append(time.time())

        wait_for_others(wait, engines, name.replace(" ", "-"))
        with Watch() as watch:
            began = time.time()
            await asyncio.gather(*map(generate_caption, range(len(prompts))))
        print_result(name, began, ended, tokens, watch, start)

    async def render(number: int) -> Any:
        image = await asyncio.to_thread(open_image, prompts[number])
        return (await llm.renderer.render_cmpl_async([image]))[0]

    first = [
        llm.generate(await render(number), sampling, f"warm-{number}").__anext__()
        for number in range(min(64, len(prompts)))
    ]
    await asyncio.gather(*first)
    if method == "plain":
        await measure_requests("AsyncLLM", render)
    else:
        ready = [await render(number) for number in range(len(prompts))]

        async def get_inputs(number: int) -> Any:
            return ready[number]

        await measure_requests("rendered before", get_inputs)
    llm.shutdown()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plain_vllm")
    parser.add_argument("way", choices=["generate", "expert", "plain", "rendered"])
    parser.add_argument("--spec", required=True)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--engines", type=int, default=1)
    parser.add_argument("--number", type=int, default=0)
    parser.add_argument("--wait")
    arguments = parser.parse_args()
    spec = Spec.model_validate_json(objects.read(arguments.spec))
    if arguments.way in ("generate", "expert"):
        generate(spec, arguments.gpu, arguments.way == "expert")
    else:
        asyncio.run(
            asynchronous(spec, arguments.gpu, arguments.wait, arguments.engines, arguments.number, arguments.way)
        )
    os._exit(0)
