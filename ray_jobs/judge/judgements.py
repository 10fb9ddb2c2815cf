"""Loads the judge's judgements of a part's captions from the stored answers. It asks no question and starts no engine.

The Ray tasks of `evaluate` call it while they score a part.
"""

from ray_jobs.contract.spec import Spec
from ray_jobs.judge import answer_store, rubric
from ray_jobs.judge.questions import build_caption_questions
from ray_jobs.judge.rubric import NO_ANSWER, Judgement


def load_judgements(spec: Spec, caption_id: str, part: str) -> dict[str, Judgement]:
    """The judgement of each caption of a part, by image id; empty for a suite without a judge.

    Images without a caption are left out.
    """
    judge = spec.suite.judge
    if judge.kind == "none":
        return {}
    keys = {image.image_id: image.questions[0].key for image in build_caption_questions(spec, caption_id, part)}
    answers = answer_store.load_answers(spec.judge_uri, part, set(keys.values()))
    return {
        image_id: rubric.parse_answer(judge, answers[key].text, answers[key].failure) if key in answers else NO_ANSWER
        for image_id, key in keys.items()
    }
