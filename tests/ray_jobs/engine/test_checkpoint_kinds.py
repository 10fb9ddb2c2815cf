"""Adapters on one warm engine and a quantised checkpoint on a cold one, in real jobs one after the other."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import Pairs, make_random_pair, read_weights, write_adapter, write_quantised
from PIL import Image
from ray_cluster import Cluster
from stage_jobs import DEMO, ENGINE, GOOD, wait_for_exit
from transformers import AutoModelForImageTextToText, AutoProcessor

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("forked_starts")]

BASE = DEMO / "checkpoints" / "step-0300"
SCENES = sorted((DEMO / "images" / "scenes").iterdir())[:20]
PROMPT = "describe the image"
RANK, ALPHA = 24, 12


def caption_all(*jobs: tuple[Path, dict[str, Any]]) -> list[Any]:
    """For each job its captions, the kind of engine, whether it was warm, and the reason. For a job that failed, its
    error line."""
    scenes = json.dumps([str(scene) for scene in SCENES])
    checkpoints = json.dumps([[str(uri), ENGINE | settings] for uri, settings in jobs])
    command = [sys.executable, str(Path(__file__).with_name("caption_in_turn.py")), PROMPT, scenes, checkpoints]
    result = wait_for_exit(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    assert result.code == 0, result.output[-5000:]
    answers: list[Any] = result.last_json
    return answers


def decode_greedily(network: Any) -> list[str]:
    """The captions by transformers, decoded greedily in float32."""
    processor = AutoProcessor.from_pretrained(BASE)
    processor.tokenizer.padding_side = "left"
    turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": PROMPT}]}]
    prompt = processor.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    pixels = [[Image.open(scene).convert("RGB")] for scene in SCENES]
    inputs = processor(text=[prompt] * len(pixels), images=pixels, return_tensors="pt", padding=True)
    with torch.no_grad():
        output = network.float().eval().generate(**inputs, do_sample=False, max_new_tokens=32)
    texts: list[str] = processor.tokenizer.batch_decode(
        output[:, inputs.input_ids.shape[1] :], skip_special_tokens=True
    )
    return texts


def network_of(folder: Path) -> Any:
    return AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.bfloat16)


def factor_differences(checkpoint: Path) -> Pairs:
    """A and B of every linear layer of the language model whose product is nearest to its difference from the base.

    By the names that transformers has for them in memory, where PEFT finds them.
    """
    base, there, differences = read_weights(BASE), read_weights(checkpoint), {}
    for name, weight in base.items():
        if name.startswith("model.layers.") and name.endswith("_proj.weight"):
            u, size, v = torch.linalg.svd(there[name].float() - weight.float(), full_matrices=False)
            up, down = u[:, :RANK] * size[:RANK], v[:RANK] / (ALPHA / RANK)
            differences[name.replace("model.", "model.language_model.", 1).removesuffix(".weight")] = down, up
    assert len(differences) == 21
    return differences


def merge_by_hand(pairs: Pairs) -> Any:
    """The base in memory with the adapter added, rounded as a checkpoint in bfloat16 is."""
    network = network_of(BASE)
    for path, (down, up) in pairs.items():
        weight = network.get_submodule(path).weight
        weight.data = (weight.data.float() + (up @ down) * (ALPHA / RANK)).to(torch.bfloat16)
    return network


def test_adapters_are_swapped_into_one_warm_engine_and_a_quantised_checkpoint_has_its_own(
    on_cluster: Cluster, tmp_path: Path
) -> None:
    on_cluster.end_engines()
    pairs = [factor_differences(DEMO / "checkpoints" / name) for name in ("step-0800", "step-0840")]
    adapters = [
        write_adapter(tmp_path / f"adapter-{number}", pair, r=RANK, lora_alpha=ALPHA)
        for number, pair in enumerate(pairs)
    ]
    based = {"base_model": str(BASE)}
    small = write_quantised(GOOD, tmp_path / "quantised")
    misfit = write_adapter(tmp_path / "misfit", {"model.layers.0.self_attn.q_proj": make_random_pair((96, 128), 4, 0)})
    jobs = [(adapters[0], based), (adapters[1], based), (misfit, based), (BASE, {}), (small, {"dtype": "bfloat16"})]
    answers = caption_all(*jobs)
    assert answers.pop(2).startswith(f"checkpoint {misfit}: model.layers.0.self_attn.q_proj.lora_A.weight is for")
    expected = [decode_greedily(merge_by_hand(pair)) for pair in pairs] + [decode_greedily(network_of(BASE))]
    assert len({tuple(texts) for texts in expected}) == 3
    assert [answer[0] for answer in answers[:3]] == expected
    assert [answer[1:] for answer in answers[:3]] == [
        ["warm", False, "started for this checkpoint"],
        ["warm", True, "weights swapped and checked"],
        ["warm", True, "weights swapped and checked"],
    ]
    captions, *how = answers[3]
    assert how == ["ray_data_llm", False, "started for this job"]
    reference = decode_greedily(network_of(GOOD))
    assert sum(caption == other for caption, other in zip(captions, reference, strict=True)) >= 16
    assert len(set(captions)) > 10
