# ruff: noqa: E501 (a case is a line of a table)
"""The cases about checkpoints: 20 to 27 and 31 of the review. An engine runs only where the plan is not the answer."""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from case_runner import GOOD, Build, Case, CaseRunner
from pictures import images, write

OLDER = GOOD.parent / "step-0200"
INDEX = "model.safetensors.index.json"
ENGINE = {"dtype": "float32", "max_model_len": 512, "max_num_seqs": 4, "enforce_eager": True, "keep_seconds": 120}
Change = Callable[[Path], object]


def copy_checkpoint(folder: Path, of: Path = GOOD, name: str = "step-0800") -> Path:
    return Path(shutil.copytree(of, folder / "run" / name))


def merge_shards(checkpoint: Path) -> dict[str, Any]:
    """Put the shards of a checkpoint into one model.safetensors; returns the tensors' headers by name."""
    headers: dict[str, Any] = {}
    blobs, offset = [], 0
    for shard in sorted(checkpoint.glob("model-*.safetensors")):
        data = shard.read_bytes()
        (size,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + size])
        header.pop("__metadata__", None)
        for name, tensor in header.items():
            start, end = tensor["data_offsets"]
            headers[name] = tensor | {"data_offsets": [offset + start, offset + end]}
        blobs.append(data[8 + size :])
        offset += len(blobs[-1])
    write_tensors(checkpoint / "model.safetensors", headers, b"".join(blobs))
    return headers


def write_tensors(file: Path, headers: dict[str, Any], data: bytes) -> None:
    text = json.dumps({"__metadata__": {"format": "pt"}} | headers).encode()
    text += b" " * (-len(text) % 8)
    file.write_bytes(struct.pack("<Q", len(text)) + text + data)


def plan(runner: CaseRunner, folder: Path, checkpoint: Path, **caption: Any) -> tuple[str | None, str]:
    images(folder / "images", 12)
    suite = {
        "dataset": {"source": str(folder / "images")},
        "preprocess": {"max_pixels": 12544, "format": "png"},
        "caption": {"prompt": "describe the image", "max_tokens": 32} | caption,
        "engine": ENGINE,
    }
    return runner.plan(folder, checkpoint, suite)


def plan_after(change: Change) -> Build:
    """Plan a changed checkpoint; the case's line is the fingerprint or the error."""

    def build(runner: CaseRunner, folder: Path) -> str:
        checkpoint = copy_checkpoint(folder)
        change(checkpoint)
        spec, line = plan(runner, folder, checkpoint)
        return f"planned: {json.loads(Path(line).read_text())['checkpoint']['fingerprint'][:8]}" if spec else line

    return build


def caption_after(change: Change, later: Change = lambda _: None, **caption: Any) -> Build:
    """Plan, preprocess and caption a checkpoint that changes before the plan and again before the captions."""

    def build(runner: CaseRunner, folder: Path) -> str:
        checkpoint = copy_checkpoint(folder)
        change(checkpoint)
        spec, line = plan(runner, folder, checkpoint, **caption)
        if spec is None:
            return line
        for stage in ("preprocess", "caption"):
            if stage == "caption":
                later(checkpoint)
            code, line = runner.stage(stage, spec, seconds=400)
            if code:
                return line
        return "captioned: " + line

    return build


def stale_index(checkpoint: Path) -> None:
    merge_shards(checkpoint)
    for shard in checkpoint.glob("model-*.safetensors"):
        shard.unlink()


def two_sets(checkpoint: Path) -> None:
    """model.safetensors is step-0800's, the shards of the index are step-0200's."""
    merge_shards(checkpoint)
    for shard in OLDER.glob("model-*.safetensors"):
        shutil.copy(shard, checkpoint)


def empty_tensor(checkpoint: Path) -> None:
    headers = merge_shards(checkpoint)
    file = checkpoint / "model.safetensors"
    (size,) = struct.unpack("<Q", file.read_bytes()[:8])
    name = next(name for name in headers if name.endswith("embed_tokens.weight"))
    headers[name] = headers[name] | {"shape": [0], "data_offsets": [0, 0]}
    dense, data, offset = {}, [], 0
    body = file.read_bytes()[8 + size :]
    for other, tensor in headers.items():
        start, end = tensor["data_offsets"]
        dense[other] = tensor | {"data_offsets": [offset, offset + end - start]}
        data.append(body[start:end])
        offset += end - start
    write_tensors(file, dense, b"".join(data))
    for shard in [*checkpoint.glob("model-*.safetensors"), checkpoint / INDEX]:
        shard.unlink()


def notes(checkpoint: Path) -> None:
    write(checkpoint / "results.json", '{"mmmu": 0.4}')
    write(checkpoint / "eval_mmmu.json", "{}")
    write(checkpoint / "notes.txt", "looks good")
    write(checkpoint / "training_args.json", "{}")


def without_weights(checkpoint: Path) -> None:
    for file in checkpoint.glob("model*"):
        file.unlink()


def only(*files: str) -> Change:
    def change(checkpoint: Path) -> None:
        without_weights(checkpoint)
        for name in files:
            write(checkpoint / name, b"PK\x03\x04" + bytes(4096))

    return change


def without(*names: str) -> Change:
    def change(checkpoint: Path) -> None:
        for name in names:
            (checkpoint / name).unlink(missing_ok=True)

    return change


def half_deleted(checkpoint: Path) -> None:
    for name in ("preprocessor_config.json", "processor_config.json", "tokenizer.json"):
        (checkpoint / name).unlink()


def adapter_of_bin(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint)
    write(checkpoint / "adapter_config.json", json.dumps({
        "peft_type": "LORA", "base_model_name_or_path": str(GOOD), "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"],
    }))  # fmt: skip
    write(checkpoint / "adapter_model.bin", b"PK\x03\x04" + bytes(4096))


def without_vision(checkpoint: Path) -> None:
    headers = merge_shards(checkpoint)
    file = checkpoint / "model.safetensors"
    data = file.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    language_tensors, blobs, offset = {}, [], 0
    for name, tensor in headers.items():
        if "visual" in name:
            continue
        start, end = tensor["data_offsets"]
        language_tensors[name] = tensor | {"data_offsets": [offset, offset + end - start]}
        blobs.append(data[8 + size + start : 8 + size + end])
        offset += end - start
    write_tensors(file, language_tensors, b"".join(blobs))
    for shard in [*checkpoint.glob("model-*.safetensors"), checkpoint / INDEX]:
        shard.unlink()


def odd_names(runner: CaseRunner, folder: Path) -> str:
    """How many checkpoints of odd names get a plan."""
    names = ["epoch=3-step=500", "checkpoint 500", "모델-500", "run:1", "ckpt#7", "-rf"]
    lines = [plan(runner, folder, copy_checkpoint(folder, name=name)) for name in names]
    return f"{sum(spec is not None for spec, _ in lines)} of {len(names)} planned"


PROMPT = "<|vision_start|><|image_pad|><|vision_end|>describe the image"
CASES = [
    Case("20a", "unslothai/unsloth#8768, Neph0s/CoSER#3", "`model.safetensors` and a stale index whose shards are gone", r"planned", "`shard 1 of 2 is missing …; wait for the upload`: waits 6 h", plan_after(stale_index)),
    Case("20b", "the same", "the same, step-0200's shards there too", r"exit 2: .*two sets of weights", "captions of step-0200 (silently wrong)", plan_after(two_sets)),
    Case("21", "OpenRLHF/OpenRLHF#839, deepspeedai/DeepSpeed#7900", "ZeRO-3 saved without gathering: a tensor of shape [0]", r"plan, exit 2: .*embed_tokens.*(ZeRO|stage3_gather)", "`trouble, worth retrying: … Engine core initialization failed. See root cause above`", plan_after(empty_tensor)),
    Case("22", "huggingface/jat#145", "`results.json`, `notes.txt` … written into the checkpoint after plan", r"captioned", "`overwritten since this run was planned …` after 48 s", caption_after(lambda _: None, notes)),
    Case("23", "apache/airflow#32459, Lightning names", "odd folder names", r"6 of 6 planned", "a run each", odd_names),
    Case("24a", "hiyouga/LlamaFactory#368", "`pytorch_model.bin` only", r"exit 2: .*pytorch_model\.bin.*(save|convert|safetensors)", "`no .safetensors file yet; wait for the upload …`", plan_after(only("pytorch_model.bin"))),
    Case("24b", "2U1/Qwen-VL-Series-Finetune#34", "FSDP `.distcp`", r"exit 2: .*distcp.*(dcp_to_torch|merge|convert)", "the same", plan_after(only("pytorch_model_fsdp_0/__0_0.distcp"))),
    Case("24c", "the same", "DeepSpeed `global_step500/`", r"exit 2: .*zero_to_fp32", "the same", plan_after(only("global_step500/zero_pp_rank_0_mp_rank_00_model_states.pt", "zero_to_fp32.py"))),
    Case("24d", "the same", "`adapter_model.bin`", r"exit 2: .*adapter_model\.bin", "named, but waited for", plan_after(adapter_of_bin)),
    Case("24e", "the same", "no tokenizer", r"exit 2: .*tokenizer", "named, but waited for", plan_after(without("tokenizer.json", "tokenizer_config.json"))),
    Case("25a", "transformers#4439 (`save_total_limit`)", "checkpoint deleted between plan and caption", r"caption, exit 2: .*deleted since", "`config.json went away while it was read`", caption_after(lambda _: None, shutil.rmtree)),
    Case("25b", "the same", "half deleted", r"caption, exit 2: .*deleted since", "`its processor does not load: Can't load image processor …`", caption_after(lambda _: None, half_deleted)),
    Case("27b", "frozen vision tower not saved", "no `visual.*` tensors", r"exit 2: .*visual", "told", caption_after(without_vision)),
    Case("29", "vllm-project/vllm#57740", "prompt copied from a notebook with `<\\|image_pad\\|>`", r"exit 2: .*image_pad.*take (it|them) out", "11 of 12 captions differ (silently wrong)", caption_after(lambda _: None, prompt=PROMPT)),
    Case("31a", "LlamaFactory#7495, QwenLM/Qwen3-VL#777", "without preprocessor_config.json", r"exit 2: .*processor", "told", caption_after(without("preprocessor_config.json", "processor_config.json"))),
    Case("31b", "the same", "without a chat template", r"exit 2: .*chat template", "told", caption_after(without("chat_template.jinja"))),
]  # fmt: skip
