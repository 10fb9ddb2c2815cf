"""Measures captions/s of one engine under several settings of vLLM's scheduler, without a new start for each.

    .assay/data/bin/python -m benchmarks.live_settings --gpu --images 3072 1024/6144 1024/8192 512/16384
    .assay/data/bin/python -m benchmarks.live_settings --geometry tiny --images 64 8/1024 4/1024    # tries the script

A setting is SEQUENCES/TOKENS, then `/INTERVAL` (images are admitted only in each such step), then `/nogc`. The engine
has Assay's settings with the most sequences and tokens of all. All inputs are rendered before, so feeding plays no
part.
Prints a line of JSON per setting: captions/s, captions/s of the middle half, and how busy the GPU was then.
"""

import argparse
import asyncio
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.geometry import GEOMETRIES, is_tiny, write_checkpoints
from benchmarks.gpu import Watch
from benchmarks.jobs import draw_photographs, write_job
from benchmarks.plain_vllm import list_prompts, open_image
from ray_jobs.contract.spec import Spec
from ray_jobs.engine.settings import build_warm_config, engine_environment


def parse_setting(text: str) -> dict[str, Any]:
    """The arguments of `LiveSettings.set_scheduler`."""
    seqs, tokens, *further = text.split("/")
    interval = next((int(word) for word in further if word.isdecimal()), 1)
    return {"seqs": int(seqs), "tokens": int(tokens), "interval": interval, "collect": "nogc" not in further}


def write_spec(arguments: argparse.Namespace, settings: list[dict[str, Any]], folder: Path) -> Spec:
    tiny = is_tiny(arguments.geometry)
    engine = {
        "dtype": "float32" if tiny else "bfloat16", "max_model_len": 1024 if tiny else 2048, "enforce_eager": tiny,
        "max_num_seqs": max(setting["seqs"] for setting in settings),
        "max_num_batched_tokens": max(setting["tokens"] for setting in settings), **arguments.engine,
    }  # fmt: skip
    suite = {
        "name": "live",
        "dataset": {"source": "benchmark"},
        "caption": {"prompt": "describe the image " * 12, "max_tokens": 8 if tiny else arguments.tokens},
        "engine": engine,
    }
    (model,) = write_checkpoints(arguments.models or folder / "models", arguments.geometry, 1)
    width, height = (112, 112) if tiny else map(int, arguments.size.split("x"))
    photographs = draw_photographs(arguments.images, (width, height))
    return write_job(folder / "root", suite, model, f"made {arguments.images}", photographs)


async def measure_settings(spec: Spec, arguments: argparse.Namespace, settings: list[dict[str, Any]]) -> None:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind
    from vllm.v1.engine.async_llm import AsyncLLM

    start = time.time()
    config = build_warm_config(spec.suite.engine, arguments.gpu, spec.checkpoint.uri)
    config.parallel_config.worker_extension_cls = "benchmarks.live_worker.LiveSettings"
    for name in arguments.compile:
        setattr(config.compilation_config, name, True)
    llm = AsyncLLM.from_vllm_config(config)
    print(json.dumps({"start": time.time() - start}), flush=True)
    prompts = list_prompts(spec, slice(None))
    ready = [(await llm.renderer.render_cmpl_async([open_image(prompt)]))[0] for prompt in prompts]
    sampling = SamplingParams(
        max_tokens=spec.suite.caption.max_tokens, temperature=0, ignore_eos=True,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )  # fmt: skip

    async def measure(name: str, images: int, seqs: int) -> dict[str, Any]:
        room, ended = asyncio.Semaphore(int(1.5 * seqs)), list[float]()

        async def generate_caption(number: int) -> None:
            async with room:
                async for _ in llm.generate(ready[number], sampling, f"{name}-{number}"):
                    pass
                ended.append(time.time())

        with Watch() as watch:
            began = time.time()
            await asyncio.gather(*map(generate_caption, range(images)))
        first, last = ended[len(ended) // 4], ended[3 * len(ended) // 4]
        busy = watch.busy(first, last)
        return {
            "setting": name, "images": images, "rate": round(images / (ended[-1] - began), 1),
            "steady": round(images / 2 / max(last - first, 1e-9), 1), "busy": busy and round(busy, 3),
        }  # fmt: skip

    await measure("warm", min(128, len(ready)), 128)
    for text, setting in zip(arguments.settings, settings, strict=True):
        await llm.collective_rpc("set_scheduler", kwargs=setting)
        await llm.reset_encoder_cache()
        print(json.dumps(await measure(text, len(ready), setting["seqs"])), flush=True)
    llm.shutdown()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live_settings")
    parser.add_argument("settings", nargs="+", help="SEQUENCES/TOKENS[/INTERVAL][/nogc]")
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--geometry", choices=GEOMETRIES, default="3b")
    parser.add_argument("--images", type=int, default=3072)
    parser.add_argument("--size", default="504x364", help="pixels of an image")
    parser.add_argument("--tokens", type=int, default=64, help="of a caption")
    parser.add_argument("--engine", type=json.loads, default={}, help="further settings of a suite's engine, as JSON")
    parser.add_argument("--compile", nargs="*", default=[], help="settings of vLLM's compilation_config to switch on")
    parser.add_argument("--models", type=Path, help="a folder where the checkpoint is, or will be")
    arguments = parser.parse_args()
    settings = [parse_setting(text) for text in arguments.settings]
    with tempfile.TemporaryDirectory(prefix="assay-benchmark-") as folder:
        spec = write_spec(arguments, settings, Path(folder))
        os.environ.update(engine_environment(spec.suite.engine, arguments.gpu))
        asyncio.run(measure_settings(spec, arguments, settings))
    os._exit(0)
