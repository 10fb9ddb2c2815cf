"""The warm engine for real: Ray, vLLM, the demo's checkpoints; every swap against transformers, and planted faults."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ray_cluster import Cluster
from running import DEMO, ENGINE, Ended, ended

pytestmark = pytest.mark.integration

CHECKPOINTS = sorted(folder for folder in (DEMO / "checkpoints").iterdir() if not folder.name.endswith("again"))
SCENES = sorted((DEMO / "images" / "scenes").iterdir())[:20]

# What every driver below has: the scenes as the tasks of parts, asked of the warm engine about a checkpoint.
DRIVER = f"""
import json, sys, time, os, signal
from pathlib import Path
import ray
from ray_jobs import checkpoint, job
from ray_jobs.contract import BadInput, Engine, Trouble
from ray_jobs.engine import warm
from ray_jobs.engine.asked import Served, request

job.connect()
engine = Engine(**json.loads({json.dumps(json.dumps(ENGINE | {"kind": "warm", "keep_seconds": 120}))}))
scenes = json.loads({json.dumps(json.dumps([str(scene) for scene in SCENES]))})
tasks = [{{"part": f"part-{{number}}", "rows": list(range(number, len(scenes), 4))}} for number in range(4)]

def requests(part, rows, maker):
    for row in rows:
        yield request(part, row, open(scenes[row], "rb").read(), "describe the image", maker,
                      {{"max_tokens": 32, "temperature": 0.0, "seed": 1}})

def said(uri, requests=requests):
    served = Served()
    blocks = warm.ask(checkpoint.resolve(uri), engine, tasks, requests, served)
    answers = [answer for block in blocks for answer in block]
    found = {{answer["key"].split("/")[1]: answer["failure"] or answer["text"] for answer in answers}}
    assert len(answers) == len(found) == len(scenes), (len(answers), len(found))
    return {{"said": [found[str(row)] for row in range(len(scenes))], "warm": served.warm, "told": served.told,
            "swap": served.swap, "details": [answer["detail"] for answer in answers if answer["failure"]]}}
"""


def start(script: str, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", DRIVER + script, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def driven(script: str, *arguments: str) -> Any:
    """What the driver prints last, read as JSON."""
    done: Ended = ended(start(script, *arguments))
    assert done.code == 0, done.output[-5000:]
    return json.loads(done.output.splitlines()[-1])


@pytest.fixture(scope="module")
def expected() -> dict[str, list[str]]:
    """The captions of every checkpoint as transformers decodes them greedily in float32."""
    import torch
    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoProcessor

    found = {}
    for folder in CHECKPOINTS:
        processor = AutoProcessor.from_pretrained(folder)
        processor.tokenizer.padding_side = "left"
        network = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
        turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "describe the image"}]}]
        prompt = processor.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        pixels = [[Image.open(scene).convert("RGB")] for scene in SCENES]
        asked = processor(text=[prompt] * len(pixels), images=pixels, return_tensors="pt", padding=True)
        with torch.no_grad():
            made = network.generate(**asked, do_sample=False, max_new_tokens=32)
        texts = processor.tokenizer.batch_decode(made[:, asked.input_ids.shape[1] :], skip_special_tokens=True)
        found[folder.name] = texts
    assert len({tuple(texts) for texts in found.values()}) == len(CHECKPOINTS) == 5
    return found


def tour(nodes: list[Path]) -> list[Path]:
    """Checkpoints in an order that has every ordered pair of them next to each other once (an Eulerian circuit)."""
    left = {one: [other for other in nodes if other != one] for one in nodes}
    stack, found = [nodes[0]], []
    while stack:
        if left[stack[-1]]:
            stack.append(left[stack[-1]].pop())
        else:
            found.append(stack.pop())
    return found[::-1]


def test_every_order_of_swaps_captions_as_transformers_would(
    on_cluster: Cluster, expected: dict[str, list[str]]
) -> None:
    order = tour(CHECKPOINTS)
    assert len(order) == 21
    found = driven("print(json.dumps([said(uri) for uri in sys.argv[1:]]))", *map(str, order))
    for folder, one in zip(order, found, strict=True):
        assert one["said"] == expected[folder.name]
    assert [one["warm"] for one in found[1:]] == [True] * 20
    assert {one["told"] for one in found[1:]} == {"weights swapped and checked"}
