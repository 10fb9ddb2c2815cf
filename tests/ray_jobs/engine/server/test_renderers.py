"""vLLM's own renderer for real, in Ray's processes and in threads."""

import subprocess
import sys
from typing import Any

import pytest
from ray_cluster import Cluster
from stage_jobs import GOOD, wait_for_exit

pytestmark = pytest.mark.integration

DRIVER = """
import asyncio, json, sys
from pathlib import Path
import numpy as np
from PIL import Image
from ray_jobs.contract.sections.engine import Engine
from ray_jobs.inputs.errors import RetryableError
from ray_jobs.job import frame
from ray_jobs.engine.prompt import PromptBuilder
from ray_jobs.engine.server.renderers import RendererPool
from ray_jobs.engine.settings import build_warm_config

frame.connect()
from vllm.renderers import renderer_from_config

model = Path(sys.argv[1])
engine = Engine(dtype="float32", max_model_len=512)
config = build_warm_config(engine, False, str(model))
maker = PromptBuilder(model, str(model))

def requests(part, rows, maker):
    prompt = maker.prompt("describe the image")
    for row in rows:
        if row == 99:
            raise RetryableError(f"{part} is gone")
        pixels = Image.fromarray(np.full((56, 56), row, np.uint8)).convert("RGB")
        if row == 3:
            pixels = "no image"
        refused = "an odd one" if row == 5 else None
        yield {"key": f"{part}/{row}", "tokenized_prompt": maker.tokens(prompt), "multimodal_data": {"image": pixels},
               "sampling_params": {}, "least_tokens": row, "refused": refused}

async def every(rendering, *tasks):
    async def one(task):
        try:
            return [one async for some in rendering.render_task(requests, task) for one in some]
        except RetryableError as error:
            return str(error)
    return await asyncio.gather(*map(one, tasks))

def told(rendered):
    if isinstance(rendered, str):
        return rendered
    return [(one["key"], one["failure"], one["detail"], one["least_tokens"],
             one["inputs"] and one["inputs"]["mm_kwargs"].get_data()["pixel_values"].sum().item()) for one in rendered]

tasks = [{"part": "a", "rows": list(range(20))}, {"part": "b", "rows": [7, 2]}, {"part": "c", "rows": [1, 99]}]
for beside in (model, Path("/nowhere"), None):
    rendering = RendererPool(2 if beside else 0, beside or model, str(model), config)
    rendering.start(maker, renderer_from_config(config))
    made = asyncio.run(every(rendering, *tasks))
    names = [one["inputs"]["mm_hashes"]["image"][0] for some in made[:2] for one in some if one["inputs"]]
    print(json.dumps({"processes": len(rendering._actors), "names": names, "told": [told(some) for some in made]}))
"""


def test_rows_are_rendered_alike_in_processes_and_without_them(on_cluster: Cluster) -> None:
    """In order, each image by a name of its own; a row that fails costs that row; threads where no process starts."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    result = wait_for_exit(subprocess.Popen([sys.executable, "-c", DRIVER, str(GOOD)], **pipes))
    assert result.code == 0, result.output[-5000:]
    beside, fallen_back, alone = result.json_lines
    assert [pool["processes"] for pool in (beside, fallen_back, alone)] == [2, 0, 0]
    assert beside["told"] == fallen_back["told"] == alone["told"]
    for pool in (beside, fallen_back, alone):
        assert len(set(pool["names"])) == len(pool["names"]) == 20 - 2 + 2
    first, second, third = alone["told"]
    assert [key for key, *_ in first] == [f"a/{row}" for row in range(20)]
    assert [row[0] for row in second] == ["b/7", "b/2"]
    assert [failure for _, failure, *_ in first] == [None] * 3 + ["engine-error", None, "image-refused"] + [None] * 14
    assert len({pixels for *_, pixels in first if pixels is not None}) == 18
    assert third == "c is gone"
