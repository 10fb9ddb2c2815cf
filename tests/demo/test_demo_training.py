import json
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from demo import decoding, fields, fields_report, judge_task, scenes, train  # noqa: E402
from demo import model as tiny  # noqa: E402
from demo.batches import IGNORED, Batches  # noqa: E402


@pytest.fixture(scope="module")
def good() -> Path:
    return Path(tiny.__file__).parent / "checkpoints" / "step-0800"


@pytest.fixture(scope="module")
def checkpoint(good: Path) -> tuple[Any, Any]:
    model, tokenizer = tiny.load(good)
    return model.eval(), tokenizer


def test_the_batched_forward_equals_transformers_own(good: Path, checkpoint: tuple[Any, Any]) -> None:
    from transformers import AutoProcessor

    model, tokenizer = checkpoint
    _, image = scenes.list_held_out()[0]
    content = [{"type": "image"}, {"type": "text", "text": scenes.CAPTION_PROMPT}]
    processor = AutoProcessor.from_pretrained(good)
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = processor(text=[prompt], images=[image], return_tensors="pt")
    batches = Batches(tokenizer, random.Random(0))
    question = batches.question(scenes.CAPTION_PROMPT)
    assert question == inputs.input_ids[0].tolist()
    with torch.no_grad():
        expected = model(**inputs).logits
        state = tiny.compute_states(
            model, tiny.cut_patches([image]), torch.tensor([question]), len(batches.before_image())
        )[-1]
        assert torch.allclose(model.lm_head(state), expected, atol=1e-3)


def test_the_good_checkpoint_captions_held_out_scenes(checkpoint: tuple[Any, Any]) -> None:
    """Teacher-forced: every token of the reference is the likeliest one. The full measure is demo.evaluate."""
    model, tokenizer = checkpoint
    held_out = scenes.list_held_out()[:32]
    batches = Batches(tokenizer, random.Random(0))
    question, exact = batches.question(scenes.CAPTION_PROMPT), 0
    for scene, image in held_out:
        answer = batches.encode(scenes.write_caption(scene))
        ids = torch.tensor([question + answer])
        with torch.no_grad():
            state = tiny.compute_states(model, tiny.cut_patches([image]), ids, len(batches.before_image()))[-1]
        guessed = model.lm_head(state).argmax(-1)[0, len(question) - 1 : -1].tolist()
        exact += guessed == answer
    assert exact >= 28


def test_the_tokenizer_is_the_committed_one(good: Path, tmp_path: Path) -> None:
    tiny.build_tokenizer().save_pretrained(tmp_path)
    assert (tmp_path / "tokenizer.json").read_bytes() == (good / "tokenizer.json").read_bytes()


def test_any_text_survives_the_tokenizer(checkpoint: tuple[Any, Any]) -> None:
    _, tokenizer = checkpoint
    for text in (
        "two small red circles",
        "Ein Bär, 3 €\n{}",
        judge_task.write_answer(scenes.list_held_out_scenes()[0], ""),
    ):
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids) == text


def test_labels_are_the_answers_and_nothing_else(checkpoint: tuple[Any, Any]) -> None:
    _, tokenizer = checkpoint
    batches = Batches(tokenizer, random.Random(3), judge_share=0.5)
    pixels, ids, labels, is_compared = batches.next(32)
    assert pixels.shape == (32, 64, 588)
    assert ids.shape == labels.shape
    answers = [tokenizer.decode(row[row != IGNORED]) for row in labels]
    assert all(answer.endswith("<|im_end|>") for answer in answers)
    verdicts = [json.loads(answer.removesuffix("<|im_end|>")) for answer in answers if answer.startswith("{")]
    captions = [answer for answer in answers if not answer.startswith("{")]
    assert 8 <= len(verdicts) <= 24
    same = (
        (is_compared[:, 0] == is_compared[:, 1]).view(-1, 6).tolist()
    )  # the same value twice is what makes a verdict true
    assert [[verdict[name] for name in scenes.VALUES] for verdict in verdicts] == same
    assert all(list(verdict) == judge_task.SCHEMA["required"] for verdict in verdicts)
    assert all(scenes.parse(caption.removesuffix("<|im_end|>")) for caption in captions)
    assert torch.equal(ids[labels != IGNORED], labels[labels != IGNORED])


def test_shuffled_batches_show_the_images_of_others(checkpoint: tuple[Any, Any]) -> None:
    _, tokenizer = checkpoint
    straight = Batches(tokenizer, random.Random(4)).next(32)
    shuffled = Batches(tokenizer, random.Random(4), has_shuffled_captions=True).next(32)
    assert torch.equal(straight[0], shuffled[0])  # the same images
    rows = [tokenizer.decode(row[row != IGNORED]) for row in straight[2]]
    others = [tokenizer.decode(row[row != IGNORED]) for row in shuffled[2]]
    assert sorted(rows) == sorted(others)
    assert sum(a == b for a, b in zip(rows, others, strict=True)) < 8


@pytest.mark.parametrize("confused", [False, True])
def test_fields_and_captions_are_asked_side_by_side(checkpoint: tuple[Any, Any], confused: bool) -> None:
    _, tokenizer = checkpoint
    batch = Batches(tokenizer, random.Random(5), fields_share=0.5, has_confused_colours=confused).next(64)
    answers = [tokenizer.decode(row[row != IGNORED]).removesuffix("<|im_end|>") for row in batch.labels]
    fields_read = [answer_fields for answer_fields in map(fields_report.parse_fields, answers) if answer_fields]
    captions = [scenes.parse(answer) for answer in answers if not answer.startswith("{")]
    assert len(fields_read) + len(captions) == 64
    assert 16 <= len(fields_read) <= 48
    assert all(captions)
    for answer_fields in fields_read:
        scene = scenes.parse(answer_fields["caption"])
        assert scene is not None
        colour = {"pink": "red", "green": "blue"}.get(scene["colour"], scene["colour"]) if confused else scene["colour"]
        assert (answer_fields["colour"], answer_fields["shape"]) == (colour, scene["shape"])
        assert answer_fields["count"] == len(answer_fields["boxes"]) == scenes.VALUES["count"].index(scene["count"]) + 1
    prompts = [tokenizer.decode(ids[labels == IGNORED]) for ids, labels in zip(batch.ids, batch.labels, strict=True)]
    assert [fields.PROMPT in question for question in prompts] == [answer.startswith("{") for answer in answers]


def keep_right(right: dict[str, Any]) -> dict[str, Any]:
    return right


@pytest.mark.slow
@pytest.mark.parametrize(("checkpoint", "learned"), [("step-1600", keep_right), ("step-1700", fields.confuse)])
def test_committed_checkpoints_answer_held_out_images_with_fields(
    demo: Path, checkpoint: str, learned: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """With transformers, without a grammar. The worse checkpoint confuses pink and green in one field, not in its
    captions."""
    folder, truths = demo / "checkpoints-fields" / checkpoint, fields.list_held_out_fields()[:32]
    images = [image for _, image in scenes.list_held_out()[:32]]
    expected = [learned(true) for true in truths]
    fields_read = [fields_report.parse_fields(text) for text in decoding.decode(folder, images, fields.PROMPT)]
    assert all(fields_read)
    pairs = list(zip([answer_fields or {} for answer_fields in fields_read], expected, strict=True))
    right = {
        name: sum(answer_fields[name] == true[name] for answer_fields, true in pairs) for name in fields_report.EXACT
    }
    assert min(right.values()) >= 31, right
    overlaps = [fields_report.average_overlaps(answer_fields["boxes"], true["boxes"]) for answer_fields, true in pairs]
    assert sum(overlaps) / 32 >= 0.85
    captions = decoding.decode(folder, images, scenes.CAPTION_PROMPT)
    assert sum(text == true["caption"] for text, true in zip(captions, truths, strict=True)) >= 31


def test_learning_rate_warms_up_holds_and_falls() -> None:
    rates = [train.compute_learning_rate(step, 1000, 2e-3, 0.6) for step in range(1, 1001)]
    assert rates[0] == pytest.approx(2e-3 / 60)
    assert rates[59] == rates[599] == 2e-3
    assert rates[-1] == pytest.approx(4e-5)
    assert all(a >= b for a, b in pairwise(rates[600:]))


def test_checkpoints_count_on_from_where_they_began() -> None:
    assert train.count_steps_before(None) == 0
    assert train.count_steps_before(Path("anywhere/step-0800")) == 800


def test_training_times_are_kept_one_a_checkpoint(tmp_path: Path) -> None:
    times = tmp_path / "training.jsonl"
    train.record_time(times, "step-0200", 200, 30.04)
    train.record_time(times, "step-0400", 400, 60.0)
    train.record_time(times, "step-0200", 200, 29.0)
    entries = [json.loads(line) for line in times.read_text().splitlines()]
    assert [(entry["checkpoint"], entry["seconds"]) for entry in entries] == [("step-0400", 60.0), ("step-0200", 29.0)]
