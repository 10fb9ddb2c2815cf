"""vLLM without Assay, on the images and prompts that Assay asks about; prints one line of JSON a way.

    .assay/data/bin/python -m benchmarks.plain_vllm generate --spec SPEC    # LLM.generate
    .assay/data/bin/python -m benchmarks.plain_vllm plain --spec SPEC       # AsyncLLM
    .assay/data/bin/python -m benchmarks.plain_vllm rendered --spec SPEC    # Assay's settings, inputs rendered before

`--engines` and `--wait FOLDER`: one of several such processes on a GPU, that begin together; each takes its share.
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
from ray_jobs.contract.spec import Spec
from ray_jobs.engine.prompt import PromptBuilder
from ray_jobs.engine.settings import build_warm_config, vllm_arguments
from ray_jobs.storage import manifests, objects, parts

PLAIN = ("compilation_config",)  # what Assay sets beyond a user's own settings


def prompts(spec: Spec, share: slice) -> list[dict[str, Any]]:
    maker = PromptBuilder(Path(spec.checkpoint.uri), spec.checkpoint.uri)
    names = [part.name for part in manifests.require_manifest(spec.golden_uri, "golden").parts]
    images = [image.as_py() for name in names for image in parts.read(spec.golden_uri, name, ["image"])["image"]]
    text = maker.prompt(spec.suite.caption.prompt)
    return [{"prompt": text, "multi_modal_data": {"image": image}} for image in images[share]]


def opened(prompt: dict[str, Any]) -> dict[str, Any]:
    image = Image.open(io.BytesIO(prompt["multi_modal_data"]["image"])).convert("RGB")
    return prompt | {"multi_modal_data": {"image": image}}


def together(wait: str | None, engines: int, mark: str) -> None:
    """Return when all processes are this far."""
    if wait:
        (Path(wait) / f"{mark}-{os.getpid()}").touch()
        while len(list(Path(wait).glob(f"{mark}-*"))) < engines:
            time.sleep(0.02)


def tell(way: str, began: float, ended: list[float], tokens: int, watch: Watch, start: float) -> None:
    ended.sort()
    first, last = ended[len(ended) // 4], ended[3 * len(ended) // 4]
    print(json.dumps({
        "way": way, "began": began, "ended": ended[-1], "images": len(ended), "tokens": tokens, "start": start,
        "steady": len(ended) / 2 / max(last - first, 1e-9), "busy": watch.busy(first, last),
    }), flush=True)  # fmt: skip


def generate(spec: Spec, gpu: bool) -> None:
    from vllm import LLM, SamplingParams

    asked, settings = prompts(spec, slice(None)), spec.suite.caption
    own = {name: value for name, value in vllm_arguments(spec.suite.engine, gpu).items() if name not in PLAIN}
    start = time.time()
    llm = LLM(spec.checkpoint.uri, trust_remote_code=False, **own)
    start = time.time() - start
    sampling = SamplingParams(max_tokens=settings.max_tokens, temperature=0, ignore_eos=True)
    llm.generate([opened(one) for one in asked[:64]], sampling, use_tqdm=False)
    with Watch() as watch:
        began = time.time()
        outputs = llm.generate([opened(one) for one in asked], sampling, use_tqdm=False)
        ended = time.time()
    took = [began + (ended - began) * share / len(outputs) for share in range(1, len(outputs) + 1)]
    tell("LLM.generate", began, took, sum(len(one.outputs[0].token_ids) for one in outputs), watch, start)


async def asynchronous(spec: Spec, gpu: bool, wait: str | None, engines: int, number: int, way: str) -> None:
    from vllm import AsyncEngineArgs, SamplingParams
    from vllm.sampling_params import RequestOutputKind
    from vllm.v1.engine.async_llm import AsyncLLM

    asked, settings = prompts(spec, slice(number, None, engines)), spec.suite.caption
    start = time.time()
    if way == "plain":
        own = {name: value for name, value in vllm_arguments(spec.suite.engine, gpu).items() if name not in PLAIN}
        llm = AsyncLLM.from_engine_args(AsyncEngineArgs(model=spec.checkpoint.uri, trust_remote_code=False, **own))
    else:
        llm = AsyncLLM.from_vllm_config(build_warm_config(spec.suite.engine, gpu, spec.checkpoint.uri))
    start = time.time() - start
    sampling = SamplingParams(
        max_tokens=settings.max_tokens, temperature=0, ignore_eos=True, output_kind=RequestOutputKind.FINAL_ONLY
    )

    async def measured(name: str, rendered: Callable[[int], Awaitable[Any]]) -> None:
        room, ended, tokens = asyncio.Semaphore(int(1.5 * spec.suite.engine.max_num_seqs)), [], 0

        async def one(at: int) -> None:
            nonlocal tokens
            async with room:
                async for output in llm.generate(await rendered(at), sampling, f"{name}-{at}"):
                    tokens += len(output.outputs[0].token_ids)
                ended.append(time.time())

        together(wait, engines, name.replace(" ", "-"))
        with Watch() as watch:
            began = time.time()
            await asyncio.gather(*map(one, range(len(asked))))
        tell(name, began, ended, tokens, watch, start)

    async def render(at: int) -> Any:
        image = await asyncio.to_thread(opened, asked[at])
        return (await llm.renderer.render_cmpl_async([image]))[0]

    first = [llm.generate(await render(at), sampling, f"warm-{at}").__anext__() for at in range(min(64, len(asked)))]
    await asyncio.gather(*first)
    if way == "plain":
        await measured("AsyncLLM", render)
    else:
        ready = [await render(at) for at in range(len(asked))]

        async def there(at: int) -> Any:
            return ready[at]

        await measured("rendered before", there)
    llm.shutdown()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plain_vllm")
    parser.add_argument("way", choices=["generate", "plain", "rendered"])
    parser.add_argument("--spec", required=True)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--engines", type=int, default=1)
    parser.add_argument("--number", type=int, default=0)
    parser.add_argument("--wait")
    told = parser.parse_args()
    planned = Spec.model_validate_json(objects.read(told.spec))
    if told.way == "generate":
        generate(planned, told.gpu)
    else:
        asyncio.run(asynchronous(planned, told.gpu, told.wait, told.engines, told.number, told.way))
    os._exit(0)
