"""The script that an expert would write instead of Assay: plain vLLM, one checkpoint after the other.

    .assay/data/bin/python -m benchmarks.night_script restart --images FOLDER --checkpoints FOLDER --judge FOLDER
    .assay/data/bin/python -m benchmarks.night_script reload ...    # one engine, whose weights are replaced

Per checkpoint: captions of all images, the judge's answer to each caption, scores. The judge's engine starts once and
stays. `restart` starts an engine for each checkpoint; `reload` replaces the weights of one engine by vLLM's own call.
Both do without what Assay adds: no check of the weights, no resume, no retries, no baseline, no gate, no report.
Prints one line of JSON per checkpoint and one for all.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")

# On a CPU vLLM starts one process more for each engine, unless it is told not to.
TINY = {
    "dtype": "float32", "max_model_len": 512, "max_num_seqs": 64, "enforce_eager": True,
    "distributed_executor_backend": "uni",
}  # fmt: skip
CAPTION_PROMPT, JUDGE_PROMPT = "describe the image", "judge: {caption}"
CAPTION_TOKENS, JUDGE_TOKENS = 32, 96


def start_engine(checkpoint: Path, settings: dict[str, Any]) -> Any:
    from vllm import LLM

    return LLM(
        str(checkpoint), trust_remote_code=False, limit_mm_per_prompt={"image": 1, "video": 0}, seed=0, **settings
    )


def reload_engine(llm: Any, checkpoint: Path) -> None:
    llm.collective_rpc("reload_weights", kwargs={"weights_path": str(checkpoint.resolve())})
    llm.reset_prefix_cache()
    llm.llm_engine.reset_encoder_cache()


def ask(llm: Any, images: list[Any], prompts: list[str], sampling: Any) -> list[str]:
    chats = [
        [{"role": "user", "content": [{"type": "image_pil", "image_pil": image}, {"type": "text", "text": prompt}]}]
        for image, prompt in zip(images, prompts, strict=True)
    ]
    return [output.outputs[0].text for output in llm.chat(chats, sampling, use_tqdm=False)]


def read_images(folder: Path) -> tuple[list[Any], list[str | None]]:
    """The decoded images, and their right captions where the folder has `metadata.jsonl`."""
    from PIL import Image

    metadata = folder / "metadata.jsonl"
    captions = {}
    if metadata.exists():
        rows = map(json.loads, metadata.read_text().splitlines())
        captions = {row["file_name"]: row["caption"] for row in rows}
    files = sorted(file for file in folder.iterdir() if file.suffix in (".png", ".jpg"))
    return [Image.open(file).convert("RGB") for file in files], [captions.get(file.name) for file in files]


def score(captions: list[str], references: list[str | None], answers: list[str], criteria: list[str]) -> dict[str, Any]:
    """Means of the judge's answers, exact match and chrF; the last two where there are references."""
    from sacrebleu.metrics import CHRF

    judged = []
    for answer in answers:
        try:
            verdict = json.loads(answer)
            judged.append(statistics.mean(bool(verdict[name]) for name in criteria))
        except (ValueError, KeyError, TypeError):
            continue
    scores: dict[str, Any] = {"judged": len(judged), "judge": statistics.mean(judged) if judged else None}
    pairs = [(text, reference) for text, reference in zip(captions, references, strict=True) if reference is not None]
    if pairs:
        chrf = CHRF()
        scores["exact_match"] = statistics.mean(text == reference for text, reference in pairs)
        scores["chrf"] = statistics.mean(chrf.sentence_score(text, [reference]).score for text, reference in pairs)
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.night_script")
    parser.add_argument("method", choices=["restart", "reload"])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--checkpoints", type=Path, required=True)
    parser.add_argument("--judge", type=Path, required=True)
    parser.add_argument("--engine", type=json.loads, default=TINY, help="settings of both engines, as JSON")
    parser.add_argument("--caption-tokens", type=int, default=CAPTION_TOKENS)
    parser.add_argument("--ignore-eos", action="store_true", help="for random weights: every caption has all tokens")
    arguments = parser.parse_args()
    from vllm import SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    from demo import judge_task

    began = time.time()
    criteria = [name for name in judge_task.SCHEMA["required"] if name != "rationale"]
    images, references = read_images(arguments.images)
    caption_sampling = SamplingParams(
        temperature=0, max_tokens=arguments.caption_tokens, ignore_eos=arguments.ignore_eos
    )
    judge_sampling = SamplingParams(
        temperature=0, max_tokens=JUDGE_TOKENS, structured_outputs=StructuredOutputsParams(json=judge_task.SCHEMA)
    )
    llm, judge = None, None
    for checkpoint in sorted(path for path in arguments.checkpoints.iterdir() if path.is_dir()):
        times = [time.time()]
        if llm is not None and arguments.method == "reload":
            reload_engine(llm, checkpoint)
        else:
            if llm is not None:
                llm.llm_engine.engine_core.shutdown()
            llm = start_engine(checkpoint, arguments.engine)
        times.append(time.time())
        captions = ask(llm, images, [CAPTION_PROMPT] * len(images), caption_sampling)
        times.append(time.time())
        judge = judge or start_engine(arguments.judge, arguments.engine)
        times.append(time.time())
        answers = ask(judge, images, [JUDGE_PROMPT.format(caption=text) for text in captions], judge_sampling)
        times.append(time.time())
        scores = score(captions, references, answers, criteria)
        times.append(time.time())
        phases = ("engine", "captions", "judge_engine", "answers", "scores")
        seconds = {phase: times[index + 1] - times[index] for index, phase in enumerate(phases)}
        print(json.dumps({"checkpoint": checkpoint.name, "ended": times[-1] - began, **seconds, **scores}), flush=True)
    print(json.dumps({"method": arguments.method, "images": len(images), "seconds": time.time() - began}), flush=True)
    os._exit(0)  # vLLM's engine processes take seconds to end, which are not the script's work


if __name__ == "__main__":
    main()
