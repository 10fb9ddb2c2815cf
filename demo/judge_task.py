"""The demo judge's prompt and answers, and captions with planted errors to train the judge and to measure it.

The judge sees an image and a caption and answers JSON. First comes the caption that the judge itself would give, so
that the rest is a comparison of two texts. Then it says for each attribute whether the caption agrees with the image.
A caption outside the scenes' grammar agrees in no attribute.
"""

import json
import random
from typing import Any

from demo import scenes
from demo.scenes import VALUES, Scene

PROMPT = "judge: {caption}"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "rationale": {"type": "string", "maxLength": 160},
        **{name: {"type": "boolean"} for name in VALUES},
    },
    "required": ["rationale", *VALUES],
    "additionalProperties": False,
}


def judge_attributes(scene: Scene, text: str) -> dict[str, bool]:
    """For each attribute, whether the text gives it the value that the scene has."""
    described = scenes.parse(text)
    return {name: described is not None and described[name] == scene[name] for name in VALUES}


def write_answer(scene: Scene, text: str) -> str:
    """The perfect judge's answer, in json.dumps formatting."""
    return json.dumps({"rationale": scenes.write_caption(scene), **judge_attributes(scene, text)})


def change_scene(scene: Scene, rng: random.Random, wrong: int | None = None) -> Scene:
    """A copy with exactly `wrong` attributes changed (0 to 6; None draws the number evenly)."""
    changed = rng.sample(list(VALUES), rng.randint(0, len(VALUES)) if wrong is None else wrong)
    return {
        name: rng.choice([other for other in VALUES[name] if other != value]) if name in changed else value
        for name, value in scene.items()
    }


def garble(text: str, rng: random.Random) -> str:
    """A caption as a poor checkpoint might write it: cut short, repeated, or with words lost, swapped or strange."""
    words = text.split()
    spot = rng.randrange(len(words))
    kind = rng.randrange(7)
    if kind == 0:
        words = words[: rng.randrange(len(words))]
    elif kind == 1:
        words[spot:spot] = [words[spot]] * rng.randint(1, 4)
    elif kind == 2:
        del words[spot]
    elif kind == 3:
        other = rng.randrange(len(words))
        words[spot], words[other] = words[other], words[spot]
    elif kind == 4:
        rng.shuffle(words)
    elif kind == 5:
        vocabulary = [word for values in VALUES.values() for word in values] + ["a", "of", "the", "on", "background"]
        words = [rng.choice(vocabulary) for _ in range(rng.randint(1, 14))]
    else:
        words += text.split()[spot:]
    # A shuffle can leave a caption as it was. `judge_attributes` reads the text, so it is not taught as garbage.
    return " ".join(words)


def plant_errors(scene: Scene, rng: random.Random) -> str:
    """A caption to judge, for training: right, a near miss, each attribute wrong by the toss of a coin, or garbled.

    Because of the coin, one wrong attribute does not predict the others. When most captions were near misses, the
    judge learned how often each attribute is wrong, and never learned to compare colours or shapes.
    """
    kind = rng.random()
    if kind < 0.15:
        return scenes.write_caption(scene)
    if kind < 0.35:
        return scenes.write_caption(change_scene(scene, rng, 1))
    if kind < 0.85:
        heads = sum(rng.random() < 0.5 for _ in VALUES)
        return scenes.write_caption(change_scene(scene, rng, heads))
    return garble(scenes.write_caption(change_scene(scene, rng, rng.randint(0, 2))), rng)
