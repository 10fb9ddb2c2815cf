import json
import random

import pytest

from demo import judge_task, scenes

SCENE = {"count": "two", "colour": "red", "size": "small", "shape": "circle", "position": "left", "background": "navy"}
RIGHT = "two small red circles on the left of a navy background"


def test_a_right_caption_agrees_in_everything() -> None:
    assert judge_task.judge_attributes(SCENE, RIGHT) == dict.fromkeys(scenes.VALUES, True)


@pytest.mark.parametrize("name", scenes.VALUES)
def test_an_error_belongs_to_its_attribute(name: str) -> None:
    for other in scenes.VALUES[name]:
        if other != SCENE[name]:
            truth = judge_task.judge_attributes(SCENE, scenes.write_caption({**SCENE, name: other}))
            assert [key for key, agrees in truth.items() if not agrees] == [name]


def test_a_caption_outside_the_grammar_agrees_in_nothing() -> None:
    assert judge_task.judge_attributes(SCENE, RIGHT.replace("circles", "circle")) == dict.fromkeys(scenes.VALUES, False)


def test_the_answer_has_the_schemas_keys_in_order_and_json_dumps_form() -> None:
    text = judge_task.write_answer(SCENE, scenes.write_caption({**SCENE, "position": "top"}))
    assert text == (
        '{"rationale": "two small red circles on the left of a navy background", "count": true, "colour": true, '
        '"size": true, "shape": true, "position": false, "background": true}'
    )
    assert list(json.loads(text)) == judge_task.SCHEMA["required"] == list(judge_task.SCHEMA["properties"])


@pytest.mark.parametrize("wrong", range(7))
def test_planted_errors_are_exactly_as_many_as_asked(wrong: int) -> None:
    for seed in range(50):
        changed_scene = judge_task.change_scene(SCENE, random.Random(seed), wrong)
        assert sum(changed_scene[name] != SCENE[name] for name in SCENE) == wrong
        assert all(changed_scene[name] in scenes.VALUES[name] for name in SCENE)


def test_training_captions_cover_right_near_miss_and_garbage() -> None:
    rng = random.Random(0)
    truths = [judge_task.judge_attributes(SCENE, judge_task.plant_errors(SCENE, rng)) for _ in range(4000)]
    agreeing = [sum(truth.values()) for truth in truths]
    shares = [agreeing.count(n) / len(agreeing) for n in range(7)]
    # 0.15 right, 0.20 near misses, 0.50 by the coin (1, 6, 15, 20, 15, 6, 1 in 64), 0.15 garbled
    assert shares == pytest.approx([0.155, 0.047, 0.117, 0.156, 0.117, 0.247, 0.16], abs=0.03)
    for name in scenes.VALUES:  # every attribute is the single error equally often
        alone = sum(not truth[name] and sum(truth.values()) == 5 for truth in truths)
        assert alone == pytest.approx(4000 * 0.247 / 6, rel=0.3)


def test_garbled_captions_rarely_stay_captions() -> None:
    rng = random.Random(0)
    texts = {judge_task.garble(RIGHT, rng) for _ in range(500)}
    assert len(texts) > 200
    assert sum(scenes.parse(text) is not None for text in texts) < 10
