"""Asks the cold engine about one image five times, as no golden set would; prints the answers by their keys.

python ask_cold_engine.py CHECKPOINT IMAGE ENGINE      ENGINE: the suite's section `engine` as JSON
"""

import json
import sys
from pathlib import Path

import ray
from PIL import Image

from ray_jobs.checkpoints import inspect
from ray_jobs.contract.sections.engine import Engine
from ray_jobs.engine.client import cold
from ray_jobs.engine.prompt import prompt_builder_for
from ray_jobs.job import frame

checkpoint, image, settings = sys.argv[1:]
frame.connect()
builder = prompt_builder_for(inspect.resolve(checkpoint))
pixels = Image.open(image).convert("RGB")
prompt = builder.prompt("describe the image")
whole = {
    "key": "whole",
    "prompt": prompt,
    "tokenized_prompt": builder.tokens(prompt),
    "multimodal_data": {"image": pixels},
    "sampling_params": {"max_tokens": 32, "temperature": 0.0},
    "least_tokens": builder.least_tokens(prompt, *pixels.size),
    "refused": None,
}
requests = [
    whole,
    whole | {"key": "cut", "sampling_params": {"max_tokens": 3, "temperature": 0.0}},
    whole | {"key": "blind", "multimodal_data": {}},
    whole | {"key": "other-key", "multimodal_data": {"images": pixels}},
    whole | {"key": "long", "tokenized_prompt": builder.tokens(prompt.replace("describe", "describe " * 600))},
]
engine = Engine(**json.loads(settings))
answers = cold.answer_dataset(ray.data.from_items(requests), Path(checkpoint), engine, builder.stop_ids)
print("ANSWERS", json.dumps({row["key"]: row for row in answers.take_all()}))
