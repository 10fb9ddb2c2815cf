"""Special tokens in a suite's texts are refused when the suite is read, at plan, and at the start of the job."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from samples import checkpoint_files, upload

from ray_jobs.checkpoints import inspect
from ray_jobs.checkpoints.special_tokens import read_special_tokens
from ray_jobs.contract.parse_suite import parse_suite
from ray_jobs.contract.prompt_tokens import find_token_fault
from ray_jobs.engine.probe.checkpoint_probe import probe
from ray_jobs.inputs.errors import InputError
from ray_jobs.plan import plan

MODEL = Path(__file__).parents[3] / "demo" / "checkpoints" / "step-0800"
IMAGE, TURNS = "the image is put in by the chat template", "the marks of turns are put in by the chat template"
WELL_KNOWN: dict[str, tuple[str, str]] = {
    "Qwen": ("<|image_pad|>", IMAGE),
    "Qwen's turn": ("<|im_start|>", TURNS),
    "Qwen's video": ("<|video_pad|>", IMAGE),
    "LLaVA": ("<image>", IMAGE),
    "several of LLaVA's": ("<image_2>", IMAGE),
    "Phi": ("<|image_1|>", IMAGE),
    "Llama": ("<|begin_of_text|>", TURNS),
    "Llama's image": ("<|image|>", IMAGE),
    "Llama's header": ("<|start_header_id|>", TURNS),
    "Mistral": ("[IMG]", IMAGE),
    "Mistral's turn": ("[INST]", TURNS),
    "Mistral's system": ("[SYSTEM_PROMPT]", TURNS),
    "Llama 2": ("<<SYS>>", TURNS),
    "Gemma": ("<start_of_image>", IMAGE),
    "Gemma's turn": ("<end_of_turn>", TURNS),
    "Gemma's placeholder": ("<image_soft_token>", IMAGE),
    "InternVL": ("<IMG_CONTEXT>", IMAGE),
    "InternVL's image": ("</img>", IMAGE),
    "InternLM": ("<ImageHere>", IMAGE),
    "Idefics": ("<fake_token_around_image>", IMAGE),
    "DeepSeek": ("<｜User｜>", TURNS),
    "the end of a text": ("</s>", TURNS),
    "GPT's": ("<|endoftext|>", TURNS),
}
PLAIN = [
    "Describe the image in one sentence.", "Is x < y | z > w?", "Answer as <answer>text</answer>.", "Write a list: [a]",
    "Use {\"caption\": \"...\"}.", "Name the <object> and its [colour].", "a || b, <- and ->", "#hashtag @user",
    "<b>bold</b>", "1 <|2", "[image: none]", "It's 5 > 4.",
]  # fmt: skip


def suite_text(**sections: Any) -> str:
    return yaml.safe_dump({"name": "t", "dataset": {"source": "images"}} | sections)


@pytest.mark.parametrize(("token", "why"), WELL_KNOWN.values(), ids=WELL_KNOWN.keys())
def test_a_well_known_special_token_is_refused_for_any_model(token: str, why: str) -> None:
    judge = {"kind": "openai", "model": "m", "base_url": "http://h/v1", "pairwise": True}
    places: dict[str, dict[str, Any]] = {
        "caption.prompt": {"caption": {"prompt": f"{token}describe"}},
        "judge.prompt": {"judge": judge | {"prompt": f"rate {{caption}} {token}"}},
        "judge.pairwise_prompt": {"judge": judge | {"pairwise_prompt": f"{{first}} {token} {{second}}"}},
    }
    for setting, sections in places.items():
        with pytest.raises(InputError) as error:
            parse_suite(suite_text(**sections), "t")
        assert str(error.value) == f"suite t: {setting} holds {token}: {why}; take it out"


@pytest.mark.parametrize("text", PLAIN)
def test_ordinary_text_is_ordinary(text: str) -> None:
    assert find_token_fault({"caption.prompt": text}) is None
    assert parse_suite(suite_text(caption={"prompt": text}), "t").caption.prompt == text


def test_all_that_a_notebook_left_is_named_in_order() -> None:
    text = "<|vision_start|><|image_pad|><|vision_end|>describe the image"
    assert find_token_fault({"caption.prompt": text}) == (
        f"caption.prompt holds <|vision_start|>, <|image_pad|>, <|vision_end|>: {IMAGE}; take them out"
    )


def test_a_judge_prompt_without_a_judge_is_not_checked() -> None:
    suite = parse_suite(suite_text(judge={"kind": "openai", "model": "m", "base_url": "http://h/v1"}), "t")
    assert suite.judge.pairwise is False


TOKEN = "§§PICTURE§§_"  # of no model that anybody knows
FILES: dict[str, tuple[str, Any]] = {
    "by number": ("tokenizer_config.json", {"added_tokens_decoder": {"7": {"content": TOKEN, "special": True}}}),
    "by its use": ("tokenizer_config.json", {"image_token": TOKEN}),
    "as an object": ("special_tokens_map.json", {"eos_token": {"content": TOKEN, "lstrip": False}}),
    "in a list": ("special_tokens_map.json", {"additional_special_tokens": ["<x>", TOKEN]}),
    "in a mapping": ("tokenizer_config.json", {"extra_special_tokens": {"image_token": TOKEN}}),
    "in the tokenizer": ("tokenizer.json", {"added_tokens": [{"id": 7, "content": TOKEN, "special": True}]}),
}


def plan_spec(folder: Path, file: str, content: Any, prompt: str) -> None:
    files = checkpoint_files() | {file: json.dumps(content).encode()}
    upload(str(folder / "model"), files)
    (folder / "images").mkdir()
    (folder / "images" / "a.png").write_bytes(b"png")
    (folder / "t.yaml").write_text(suite_text(caption={"prompt": prompt}))
    plan(str(folder / "root"), str(folder / "t.yaml"), str(folder / "model"), by_hand=True)


@pytest.mark.parametrize(("file", "content"), FILES.values(), ids=FILES.keys())
def test_a_token_of_the_checkpoints_own_is_refused_at_plan(tmp_path: Path, file: str, content: Any) -> None:
    with pytest.raises(InputError, match=f"^caption.prompt holds {TOKEN}: "):
        plan_spec(tmp_path, file, content, f"describe {TOKEN}")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("tokenizer_config.json", {"added_tokens_decoder": {"7": {"content": TOKEN, "special": False}}}),
        ("tokenizer_config.json", {"added_tokens_decoder": [TOKEN], "eos_token": None, "extra_special_tokens": 7}),
        ("special_tokens_map.json", []),
    ],
    ids=["not special", "of another shape", "a list"],
)
def test_what_the_files_do_not_call_special_is_text(tmp_path: Path, file: str, content: Any) -> None:
    plan_spec(tmp_path, file, content, f"describe {TOKEN}")


def test_the_files_of_a_real_checkpoint_name_its_tokens() -> None:
    assert "<|image_pad|>" in read_special_tokens(inspect.resolve(str(MODEL)))


@pytest.mark.slow
def test_the_job_asks_the_tokenizer_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the job of a suite that an earlier version planned, and whose tokens no small file names."""
    from transformers import AutoTokenizer

    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    shutil.copytree(MODEL, model := tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.add_special_tokens({"additional_special_tokens": [TOKEN]})
    tokenizer.save_pretrained(model)
    checkpoint = inspect.resolve(str(model))
    with pytest.raises(InputError, match=f"caption.prompt holds {TOKEN}: the marks of turns .*take it out"):
        probe(checkpoint, ["describe"], texts={"caption.prompt": f"describe {TOKEN}"})
    probe(checkpoint, ["describe"], texts={"caption.prompt": "describe <odd> things"})
