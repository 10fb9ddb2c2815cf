"""Writes folders as trainers leave them, from a demo checkpoint. Other files have the right names and dummy content.

    python -m dev.trainer_folders OUT

writes each folder below OUT and prints how a plan would read it. The layouts are those of the tools' own code in 2026.
`FOLDERS` has the expected result of each: a checkpoint (None), or words of the error line that refuses the folder.
"""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ray_jobs.checkpoints import inspect
from ray_jobs.checkpoints.errors import Incomplete
from ray_jobs.inputs.errors import InputError

DEMO = Path(__file__).parents[1] / "demo" / "checkpoints" / "step-0800"
INDEX = "model.safetensors.index.json"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
SIDECARS = tuple(
    path.name for path in sorted(DEMO.glob("*")) if path.suffix in (".json", ".jinja") and path.name != INDEX
)


class Folder(NamedTuple):
    """`names` are the files of the folder. A file of the demo checkpoint has the content that it has there."""

    names: tuple[str, ...]
    refusal: str | None = None


HF = (*SIDECARS, *SHARDS, INDEX)
STATES = ("optimizer.pt", "rng_state.pth", "scheduler.pt", "trainer_state.json", "training_args.bin")
ZERO = (
    "global_step500/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt", "global_step500/mp_rank_00_model_states.pt",
    "latest", "zero_to_fp32.py",
)  # fmt: skip
FSDP = ("pytorch_model_fsdp_0/.metadata", "pytorch_model_fsdp_0/__0_0.distcp", "pytorch_model_fsdp_0/__1_0.distcp")
MEGATRON = ("latest_checkpointed_iteration.txt", "iter_0000500/mp_rank_00/model_optim_rng.pt")
ADAPTER = ("adapter_config.json", "adapter_model.safetensors")

FOLDERS = {
    "hf-trainer": Folder((*HF, *STATES)),
    "hf-trainer-in-eight-processes": Folder((*HF, *STATES, *(f"rng_state_{rank}.pth" for rank in range(8)))),
    "hf-trainer-without-a-tokenizer": Folder(
        ("config.json", "generation_config.json", *SHARDS, INDEX, *STATES),
        "the tokenizer is missing, and the trainer's",
    ),
    "hf-trainer-pickles": Folder(
        (*SIDECARS, "pytorch_model.bin", *STATES), r"M\.from_pretrained\(.*\)\.save_pretrained",
    ),
    "hf-trainer-pickles-in-shards": Folder(
        (*SIDECARS, *(f"pytorch_model-{n:05}-of-00002.bin" for n in (1, 2)), "pytorch_model.bin.index.json"),
        "of weights as pickles, which are not read; run python -c",
    ),
    "hf-trainer-output-dir": Folder(
        ("checkpoint-500/config.json", "checkpoint-1000/config.json", "runs/events.out", "README.md"),
        r"a training run \(checkpoint-1000 and 1 more folders\), and no model; name one, \S+/checkpoint-1000",
    ),
    "deepspeed-zero-2": Folder((*HF, *STATES, *ZERO)),
    "deepspeed-zero-3-gathered": Folder((*HF, *ZERO, "trainer_state.json")),
    "deepspeed-zero-3": Folder(
        (*SIDECARS, *ZERO, "trainer_state.json"), r"zero_to_fp32\.py \S+ \S+ --safe_serialization",
    ),
    "deepspeed-inside": Folder(
        ("zero_pp_rank_0_mp_rank_00_model_states.pt", "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt"),
        r"zero_to_fp32\.py \. \. --safe_serialization in the folder above it",
    ),
    "fsdp-full": Folder((*HF, "optimizer.bin", *STATES[1:])),
    "fsdp-sharded": Folder(
        (*SIDECARS, *FSDP, "optimizer_0/__0_0.distcp", *STATES[1:]), "run accelerate merge-weights ",
    ),
    "fsdp-inside": Folder((".metadata", "__0_0.distcp", "__1_0.distcp"), "run accelerate merge-weights "),
    "accelerate-state": Folder(
        ("model.safetensors", "optimizer.bin", "scheduler.bin", "random_states_0.pkl"),
        "and no config.json: a state that",
    ),
    "accelerate-nested": Folder(
        ("optimizer.bin", "random_states_0.pkl", *(f"model/{name}" for name in HF)),
        r"the model is in model/; name \S+/",
    ),
    "llama-factory": Folder(
        (*HF, *STATES, "all_results.json", "train_results.json", "trainer_log.jsonl", "training_loss.png",
         "llamaboard_config.yaml", "added_tokens.json"),
    ),
    "llama-factory-value-head": Folder((*HF, "value_head.safetensors", "trainer_log.jsonl")),
    "ms-swift": Folder((*HF, *STATES, "args.json", "additional_config.json", "logging.jsonl")),
    "ms-swift-run": Folder(
        ("args.json", "logging.jsonl", *(f"checkpoint-{step}/config.json" for step in (50, 100, 99))),
        "name one, .*/checkpoint-100",
    ),
    "ms-swift-versions": Folder(
        ("v0-20241101-101010/args.json", "v1-20241102-101010/args.json"), "name one, .*/v1-20241102-101010, or watch",
    ),
    "axolotl": Folder((*HF, *STATES, "debug.log", "tokens_state.pth")),
    "axolotl-adapter": Folder(("config.json", "tokenizer.json", *ADAPTER, "README.md", "debug.log"), "its base model"),
    "unsloth-merged": Folder((*HF, "README.md", ".gitattributes")),
    "unsloth-merged-over-an-older-save": Folder((*SIDECARS, "model.safetensors", INDEX)),
    "unsloth-gguf": Folder(
        ("config.json", "unsloth.Q4_K_M.gguf", "Modelfile"), "the checkpoint that convert_hf_to_gguf",
    ),
    "peft-pickle": Folder(
        ("adapter_config.json", "adapter_model.bin", "README.md"), "save_file.*adapter_model.safetensors",
    ),
    "peft-deepspeed": Folder(("adapter_config.json", *ZERO), r"zero_to_fp32\.py"),
    "lightning": Folder(
        ("epoch=3-step=500.ckpt", "hparams.yaml", "last.ckpt"), "a checkpoint of Lightning; run python",
    ),
    "megatron": Folder(MEGATRON, r"run swift export --mcore_model \S+ --to_hf true"),
    "megatron-iteration": Folder(
        ("mp_rank_00/model_optim_rng.pt", "mp_rank_01/model_optim_rng.pt"), "a checkpoint of Mega",
    ),
    "megatron-distributed": Folder(
        ("common.pt", "metadata.json", "__0_0.distcp", ".metadata"), "a checkpoint of Megatron",
    ),
    "nemo": Folder(("model.nemo",), "run nemo llm export path="),
    "torchtune": Folder(
        (*SIDECARS, "hf_model_0001_0.pt", "hf_model_0002_0.pt", "recipe_state/recipe_state.pt"),
        "safe_serialization: True",
    ),
    "torchtune-safetensors": Folder((*HF, "recipe_state/recipe_state.pt", "original_repo_id.json")),
    "verl": Folder(
        ("actor/model_world_size_8_rank_0.pt", "actor/huggingface/config.json", "data.pt"), "verl.model_merger merge ",
    ),
    "verl-hf-model": Folder(
        (*(f"actor/huggingface/{name}" for name in HF), "actor/optim_world_size_8_rank_0.pt", "data.pt"),
        "the model is in actor/huggingface/; name ",
    ),
    "mistral": Folder(("consolidated.safetensors", "params.json", "tekken.json"), r"convert_mistral_weights_to_hf\.py"),
    "llama-original": Folder(
        ("consolidated.00.pth", "params.json", "tokenizer.model"), r"convert_\*_weights_to_hf\.py",
    ),
    "tensorflow": Folder((*SIDECARS, "tf_model.h5"), r"from_pretrained\(.*, from_tf=True\)"),
    "flax": Folder((*SIDECARS, "flax_model.msgpack"), r"from_pretrained\(.*, from_flax=True\)"),
    "orbax": Folder(
        ("_CHECKPOINT_METADATA", "ocdbt.process_0/d/0", "manifest.ocdbt"), r"of a checkpoint of Orbax \(JAX\)",
    ),
    "torch-save": Folder((*SIDECARS, "model.pt"), r"load it into the model and save that with save_pretrained"),
    "diffusers": Folder(("model_index.json", "unet/config.json"), "a pipeline of diffusers"),
    "onnx": Folder((*SIDECARS, "model.onnx"), "name the checkpoint that it was exported from"),
}  # fmt: skip


def write_folder(name: str, place: Path) -> Path:
    """The folder of FOLDERS below the place. Files that are not the demo checkpoint's hold a few bytes, or `{}`."""
    folder = place / name
    for file in FOLDERS[name].names:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        source = DEMO / path.name
        if source.exists():
            shutil.copyfile(source, path)
        elif path.name in WRITERS:
            WRITERS[path.name](path)
        else:
            path.write_bytes(b"{}" if path.suffix == ".json" else b"state")
    return folder


def write_single(path: Path, source: Path = DEMO) -> None:
    """Write all tensors of a demo checkpoint into one file: the joined headers, then the data of all shards."""
    header, data = {}, b""
    for shard in SHARDS:
        content = (source / shard).read_bytes()
        length = 8 + int.from_bytes(content[:8], "little")
        for name, tensor in json.loads(content[8:length]).items():
            if name != "__metadata__":
                header[name] = tensor | {"data_offsets": [len(data) + offset for offset in tensor["data_offsets"]]}
        data += content[length:]
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def _write_adapter_config(path: Path) -> None:
    path.write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": "org/base"}))


def _write_small(path: Path) -> None:
    text = b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"1234")


WRITERS: dict[str, Callable[[Path], None]] = {
    "model.safetensors": write_single,
    "adapter_config.json": _write_adapter_config,
    "adapter_model.safetensors": _write_small,
    "value_head.safetensors": _write_small,
    "consolidated.safetensors": _write_small,
}


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        print("usage: python -m dev.trainer_folders OUT", file=sys.stderr)
        return 2
    for name in FOLDERS:
        folder = write_folder(name, Path(arguments[1]).absolute())
        try:
            line = f"a checkpoint, fingerprint {inspect.resolve(str(folder)).fingerprint}"
        except (InputError, Incomplete) as refusal:
            line = f"{type(refusal).__name__}: {refusal}"
        print(f"{name}: {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
