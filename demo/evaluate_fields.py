"""Measures the checkpoints that answer with fields on the 256 held-out scenes: vLLM and, as its oracle, transformers.

python -m demo.evaluate_fields      # prints the section on fields and puts it into demo/RESULTS.md
"""

import time
from pathlib import Path

from demo import decoding, fields, scenes, vllm_engine
from demo.fields_report import Answers, replace_section, write_section

DEMO = Path(__file__).parent


def main() -> None:
    images = [image for _, image in scenes.list_held_out()]
    checkpoints = sorted((DEMO / "checkpoints-fields").iterdir())
    start = time.monotonic()
    llm = vllm_engine.start(checkpoints[0])
    seconds = {"start the engine": time.monotonic() - start}
    answers_of = {}
    for checkpoint in checkpoints:
        vllm_engine.swap(llm, checkpoint)
        start = time.monotonic()
        by_vllm = vllm_engine.ask(llm, [(image, fields.PROMPT) for image in images], fields.SCHEMA)
        answered = time.monotonic()
        captions = vllm_engine.ask(llm, [(image, scenes.CAPTION_PROMPT) for image in images])
        seconds[f"{checkpoint.name}: {len(images)} answers by vLLM"] = answered - start
        start = time.monotonic()
        by_transformers = decoding.decode(checkpoint, images, fields.PROMPT)
        seconds[f"{checkpoint.name}: {len(images)} answers by transformers"] = time.monotonic() - start
        answers_of[checkpoint.name] = Answers(by_vllm, by_transformers, captions)
    text = write_section(answers_of, seconds, DEMO / "training-fields.jsonl")
    results = DEMO / "RESULTS.md"
    results.write_text(replace_section(results.read_text(), text))
    print(text)


if __name__ == "__main__":
    main()
