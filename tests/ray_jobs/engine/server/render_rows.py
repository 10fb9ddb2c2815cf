"""Renders the rows of three parts: in two processes, where no process can start, and in threads.

    python render_rows.py CHECKPOINT

Prints a line of JSON for each of the three: how many processes rendered, the names of the images, and by part what each
row became, or the error's line.
"""

import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from vllm.renderers import renderer_from_config

from ray_jobs.contract.sections.engine import Engine
from ray_jobs.engine.prompt import PromptBuilder
from ray_jobs.engine.server.renderers import RendererPool
from ray_jobs.engine.settings import build_warm_config
from ray_jobs.inputs.errors import RetryableError
from ray_jobs.job import frame

TASKS: list[dict[str, Any]] = [
    {"part": "a", "rows": list(range(20))},
    {"part": "b", "rows": [7, 2]},
    {"part": "c", "rows": [1, 99]},
]


def requests(part: str, rows: Sequence[int], builder: Any) -> Iterator[dict[str, Any]]:
    """Row 3 has no image, row 5 is refused, row 99 cannot be read."""
    prompt = builder.prompt("describe the image")
    for row in rows:
        if row == 99:
            raise RetryableError(f"{part} is gone")
        pixels = Image.fromarray(np.full((56, 56), row, np.uint8)).convert("RGB")
        yield {
            "key": f"{part}/{row}",
            "tokenized_prompt": builder.tokens(prompt),
            "multimodal_data": {"image": "no image" if row == 3 else pixels},
            "sampling_params": {},
            "least_tokens": row,
            "refused": "an odd one" if row == 5 else None,
        }


async def render_all(pool: RendererPool) -> list[Any]:
    """The rendered rows of each task, or its error's line."""

    async def render(task: Any) -> Any:
        try:
            return [row async for block in pool.render_task(requests, task) for row in block]
        except RetryableError as error:
            return str(error)

    return await asyncio.gather(*map(render, TASKS))


def summarise(rendered: Any) -> Any:
    """Of each row its key, failure, detail, least count of tokens and the sum of its pixels; an error as it is."""
    if isinstance(rendered, str):
        return rendered
    return [
        (
            row["key"],
            row["failure"],
            row["detail"],
            row["least_tokens"],
            row["inputs"] and row["inputs"]["mm_kwargs"].get_data()["pixel_values"].sum().item(),
        )
        for row in rendered
    ]


if __name__ == "__main__":
    frame.connect()
    model = Path(sys.argv[1])
    engine = Engine(dtype="float32", max_model_len=512)
    config = build_warm_config(engine, False, str(model))
    builder = PromptBuilder(model, str(model))
    for folder in (model, Path("/nowhere"), None):
        pool = RendererPool(2 if folder else 0, folder or model, str(model), config)
        pool.start(builder, renderer_from_config(config))
        rendered = asyncio.run(render_all(pool))
        names = [row["inputs"]["mm_hashes"]["image"][0] for rows in rendered[:2] for row in rows if row["inputs"]]
        parts = [summarise(rows) for rows in rendered]
        print(json.dumps({"processes": len(pool._actors), "names": names, "parts": parts}))
