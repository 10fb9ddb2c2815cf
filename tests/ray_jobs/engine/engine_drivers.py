"""Starts the drivers of the warm engine, each in its own process, and computes the captions that they must give."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from stage_jobs import DEMO, ENGINE, wait_for_exit

DRIVERS = Path(__file__).with_name("drivers")
SCENES = sorted((DEMO / "images" / "scenes").iterdir())[:20]
SETTINGS = json.dumps(
    {"engine": ENGINE | {"kind": "warm", "keep_seconds": 120}, "scenes": [str(scene) for scene in SCENES]}
)


def start_driver(driver: str, *arguments: object) -> "subprocess.Popen[str]":
    """The process of the driver of that name. Its standard input is open."""
    command = [sys.executable, str(DRIVERS / f"{driver}.py"), SETTINGS, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def resume(process: "subprocess.Popen[str]") -> None:
    """Answer a driver that waits for the test."""
    assert process.stdin
    process.stdin.write("\n")
    process.stdin.flush()


def wait_for_line(process: "subprocess.Popen[str]", beginning: str) -> None:
    """Read the driver's output up to the first line with this beginning. The lines are shown if the test fails."""
    assert process.stdout
    for line in process.stdout:
        print(line, end="")
        if line.startswith(beginning):
            return
    raise AssertionError(f"the driver has ended without the line {beginning!r}; its output is above")


def finish(process: "subprocess.Popen[str]") -> Any:
    """The last line that the driver prints, read as JSON. Raises AssertionError if it fails."""
    result = wait_for_exit(process)
    assert result.code == 0, result.output[-5000:]
    return result.last_json


def run_driver(driver: str, *arguments: object) -> Any:
    """Run the driver of that name. Returns its last line, read as JSON."""
    return finish(start_driver(driver, *arguments))


def caption_by_transformers(folder: Path) -> list[str]:
    """The captions of a checkpoint by transformers, decoded greedily in float32."""
    import torch
    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(folder)
    processor.tokenizer.padding_side = "left"
    network = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "describe the image"}]}]
    prompt = processor.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    pixels = [[Image.open(scene).convert("RGB")] for scene in SCENES]
    inputs = processor(text=[prompt] * len(pixels), images=pixels, return_tensors="pt", padding=True)
    with torch.no_grad():
        output = network.generate(**inputs, do_sample=False, max_new_tokens=32)
    texts: list[str] = processor.tokenizer.batch_decode(
        output[:, inputs.input_ids.shape[1] :], skip_special_tokens=True
    )
    return texts
