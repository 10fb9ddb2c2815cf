"""Writes checkpoints of real size with random weights, the published geometry of Qwen2.5-VL or Qwen3-VL, and the demo's
tokenizer.

    .assay/data/bin/python -m benchmarks.geometry FOLDER 3b 2     # two checkpoints
"""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from benchmarks import geometry_qwen3

DEMO = Path(__file__).parent.parent / "demo" / "checkpoints" / "step-0800"
VISION = {
    "depth": 32, "hidden_size": 1280, "num_heads": 16, "intermediate_size": 3420,
    "fullatt_block_indexes": [7, 15, 23, 31],
}  # fmt: skip
TEXT: dict[str, dict[str, Any]] = {
    "3b": {
        "hidden_size": 2048, "intermediate_size": 11008, "num_attention_heads": 16, "num_hidden_layers": 36,
        "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True,
    },
    "7b": {
        "hidden_size": 3584, "intermediate_size": 18944, "num_attention_heads": 28, "num_hidden_layers": 28,
        "num_key_value_heads": 4, "vocab_size": 152064, "tie_word_embeddings": False,
    },
}  # fmt: skip

GEOMETRIES = ("tiny", "3b", "7b", "qwen3", "qwen3-tiny")


def is_tiny(geometry: str) -> bool:
    """Whether the geometry only tries a benchmark on a CPU."""
    return geometry.endswith("tiny")


def write_checkpoints(folder: Path, geometry: str, count: int) -> list[Path]:
    """Folders of `count` checkpoints of one architecture with different weights.

    The geometry is `tiny` (the demo's checkpoint), `3b` or `7b` (Qwen2.5-VL), `qwen3` (Qwen3-VL-4B), or `qwen3-tiny`.
    The checkpoints share all shards except one, by hard links. A swap still reads and checks the whole checkpoint.
    Folders that exist are not written again.
    """
    first = folder / "step-0"
    if first.exists():
        return [folder / f"step-{number}" for number in range(count)]
    if geometry == "tiny":
        shutil.copytree(DEMO, first)
    else:
        _write_model(first, geometry)
    return [first, *(_copy_with_changes(first, folder / f"step-{number}", number) for number in range(1, count))]


def _write_model(target: Path, geometry: str) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    shutil.copytree(DEMO, target, ignore=shutil.ignore_patterns("*.safetensors*"))
    if geometry.startswith("qwen3"):
        geometry_qwen3.write_config(target, DEMO, is_tiny(geometry))
    else:
        _write_config(target, geometry)
    config = (target / "config.json").read_text()
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForImageTextToText.from_config(
            AutoConfig.from_pretrained(target, trust_remote_code=False), trust_remote_code=False
        )
    model.save_pretrained(target, max_shard_size="100KB" if is_tiny(geometry) else "2GB")
    (target / "config.json").write_text(config)


def _write_config(target: Path, geometry: str) -> None:
    config = json.loads((DEMO / "config.json").read_text())
    text = config["text_config"] | TEXT[geometry] | {"max_position_embeddings": 32768}
    text["layer_types"] = ["full_attention"] * text["num_hidden_layers"]
    text["rope_parameters"] |= {"mrope_section": [16, 24, 24], "rope_theta": 1000000.0}
    config["text_config"], config["tie_word_embeddings"] = text, text["tie_word_embeddings"]
    config["vision_config"] |= VISION | {"out_hidden_size": text["hidden_size"]}
    (target / "config.json").write_text(json.dumps(config))


def _copy_with_changes(source: Path, target: Path, number: int) -> Path:
    """A copy whose smallest shard has other values."""
    from safetensors.torch import load_file, save_file

    target.mkdir()
    smallest = min(source.glob("*.safetensors"), key=lambda shard: shard.stat().st_size)
    for file in source.iterdir():
        if file == smallest:
            weights = {name: tensor * (1 + number / 64) for name, tensor in load_file(file).items()}
            save_file(weights, target / file.name, metadata={"format": "pt"})
        else:
            os.link(file, target / file.name)
    return target


if __name__ == "__main__":
    folder, geometry, count = sys.argv[1:]
    Path(folder).mkdir(parents=True, exist_ok=True)
    print(*write_checkpoints(Path(folder), geometry, int(count)), sep="\n")
