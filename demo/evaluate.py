"""Measures the demo's checkpoints and judge on the 256 held-out scenes, with vLLM on the CPU in float32.

    python -m demo.evaluate      # prints the tables and writes demo/RESULTS.md

The captioners are compared with the true scenes. The judge is measured on captions with planted errors (one attribute
at a time, any number at once, garbled text), and on the captions that the captioners wrote.
"""

import json
import random
import time
from pathlib import Path

from demo import judge_task, scenes, vllm_engine
from demo.fields_report import find_section, replace_section
from demo.report import Verdict, build_results

DEMO = Path(__file__).parent
SEED = 77  # of the planted errors


def parse_verdict(text: str) -> dict[str, bool] | None:
    """The judge's answer when it is JSON of the schema's form, else None."""
    try:
        answer = json.loads(text)
    except json.JSONDecodeError:
        return None
    whole = isinstance(answer, dict) and list(answer) == judge_task.SCHEMA["required"]
    return answer if whole and all(isinstance(answer[name], bool) for name in scenes.VALUES) else None


def plant_captions(truths: list[scenes.Scene]) -> dict[str, list[tuple[int, str]]]:
    """(image, caption) pairs by the kind of planted error: one kind per attribute, and four others."""
    rng = random.Random(SEED)
    kinds: dict[str, list[tuple[int, str]]] = {
        "right": [(i, scenes.write_caption(truth)) for i, truth in enumerate(truths)]
    }
    for name, values in scenes.VALUES.items():
        kinds[name] = [
            (i, scenes.write_caption({**truth, name: rng.choice([value for value in values if value != truth[name]])}))
            for i, truth in enumerate(truths)
        ]
    kinds["any number"] = [(i, scenes.write_caption(judge_task.change_scene(t, rng))) for i, t in enumerate(truths)]
    kinds["another image's"] = [(i, scenes.write_caption(truths[(i + 1) % len(truths)])) for i in range(len(truths))]
    kinds["garbled"] = [(i, judge_task.garble(scenes.write_caption(truth), rng)) for i, truth in enumerate(truths)]
    return kinds


def main() -> None:
    held_out = scenes.list_held_out()
    truths, images = [scene for scene, _ in held_out], [image for _, image in held_out]
    checkpoints = sorted(path for path in (DEMO / "checkpoints").iterdir() if path.is_dir())

    start = time.monotonic()
    llm = vllm_engine.start(checkpoints[0])
    seconds = {"start the captioners' engine": time.monotonic() - start}
    written: dict[str, list[str]] = {}
    start = time.monotonic()
    for checkpoint in checkpoints:
        vllm_engine.swap(llm, checkpoint)
        written[checkpoint.name] = vllm_engine.ask(llm, [(image, scenes.CAPTION_PROMPT) for image in images])
    seconds[f"{len(checkpoints)} x {len(images)} captions, swaps included"] = time.monotonic() - start
    del llm

    start = time.monotonic()
    llm = vllm_engine.start(DEMO / "judge")
    seconds["start the judge's engine"] = time.monotonic() - start
    judge_captions = vllm_engine.ask(llm, [(image, scenes.CAPTION_PROMPT) for image in images])
    kinds = plant_captions(truths) | {name: list(enumerate(captions)) for name, captions in written.items()}
    verdicts: dict[str, list[Verdict]] = {}
    start = time.monotonic()
    for kind, pairs in kinds.items():
        questions = [(images[i], judge_task.PROMPT.format(caption=text)) for i, text in pairs]
        answers = vllm_engine.ask(llm, questions, judge_task.SCHEMA)
        real = [judge_task.judge_attributes(truths[i], text) for i, text in pairs]
        verdicts[kind] = [Verdict(so, parse_verdict(answer)) for so, answer in zip(real, answers, strict=True)]
    count = sum(len(answers) for answers in verdicts.values())
    seconds[f"{count} verdicts"] = time.monotonic() - start

    text = build_results(truths, written, judge_captions, verdicts, seconds, DEMO / "training.jsonl")
    file = DEMO / "RESULTS.md"
    file.write_text(replace_section(text, find_section(file.read_text())))  # demo.evaluate_fields writes that section
    print(text)


if __name__ == "__main__":
    main()
