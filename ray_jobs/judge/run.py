"""Has the judge answer the questions about a run that have no answer yet, on our own engine or at an endpoint.

The driver of `evaluate` calls it. Answers are stored by content (image and question). So a rerun, another metric, gate
or baseline, or another checkpoint with the same caption asks nothing. Invariant: an answer is final. A failure is final
for the attempt that met it, also after a kill and a resume. The next attempt, or another run, asks again.
"""

import logging
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial, reduce
from itertools import islice
from typing import Any

from ray_jobs.contract.artifacts import Verdict
from ray_jobs.contract.ids import slug
from ray_jobs.contract.spec import Spec
from ray_jobs.engine.client.early_engines import probe_judge
from ray_jobs.engine.client.gpu_shares import expect_questions, share_gpu
from ray_jobs.engine.client.stream import stream_parts
from ray_jobs.engine.prompt import PromptBuilder
from ray_jobs.engine.protocol import Requests, build_request
from ray_jobs.judge import answer_store, rubric
from ray_jobs.judge.answer_store import Answer
from ray_jobs.judge.completion import describe_fault
from ray_jobs.judge.preference import FOLDER
from ray_jobs.judge.questions import Question, build_questions
from ray_jobs.judge.totals import JudgeTotals, compute_totals, dump_totals
from ray_jobs.runtime.progress import Progress
from ray_jobs.storage import json_files, manifests, object_listing, objects, parts

log = logging.getLogger("assay")

ATTEMPT_FILE = "attempt"  # the file in the run's folder that names its attempt, unless that is the first
IDENTICAL_ANSWERS = 10  # this number of equal answers raises a warning about the judge
READERS = 16  # threads that read stored answers; they wait for storage most of the time


@dataclass(frozen=True)
class PartSurvey:
    """The state of a part: the numbers of its pending questions, and the totals of all its questions.

    `has_answer_of_run`: this run has a valid answer. `answered_number`: the number of a question with a valid answer of
    any run. `texts`: at most two different valid answers. `fault`: the reason for one of the failures.
    """

    part: str
    pending: tuple[int, ...]
    totals: JudgeTotals
    has_answer_of_run: bool
    answered_number: int | None
    texts: frozenset[str]
    fault: str | None


def run_judge(spec: Spec, caption_ids: Sequence[str]) -> JudgeTotals:
    """Have the judge answer every question about these captions, and about the pairs if the suite compares them.

    Returns the totals, and writes them to `{results_uri}/judge.json`.
    """
    began = time.time()
    ids = list(dict.fromkeys(caption_ids))
    names = [part.name for part in manifests.require_manifest(spec.captions_uri, "caption").parts if part.rows]
    for caption_id in ids:
        manifests.require_manifest(spec.captions_uri_of(caption_id), "caption")
    run = name_attempt(spec)
    survey_part = partial(_survey_part, spec, ids, run)
    with ThreadPoolExecutor(READERS) as pool:
        surveys = list(pool.map(survey_part, names))
        if any(survey.pending for survey in surveys):
            _ask_questions(spec, ids, surveys, run, began)
            surveys = list(pool.map(survey_part, names))
            took = round(time.time() - began, 3)
        else:
            took = 0.0
    totals = reduce(JudgeTotals.plus, (survey.totals for survey in surveys), JudgeTotals(seconds=took))
    uri = f"{spec.results_uri}/judge.json"
    if objects.exists(uri):
        totals = replace(totals, seconds=totals.seconds + json_files.load_json(uri)["seconds"])
    objects.write(uri, json_files.dump_json(dump_totals(totals)))
    log.info("judge: %d of %d questions answered, %d cached, failed %s, %d + %d tokens, cost %.4f, %.1f s",
             totals.answered, totals.questions, totals.cached, totals.failed, totals.total_usage.prompt_tokens,
             totals.total_usage.completion_tokens, totals.total_usage.cost, totals.seconds)  # fmt: skip
    if fault := next((survey.fault for survey in surveys if survey.fault), None):
        log.warning("judge: %d questions have no answer, one because of: %s", sum(totals.failed.values()), fault)
    if totals.answered >= IDENTICAL_ANSWERS and len(frozenset().union(*(survey.texts for survey in surveys))) == 1:
        log.warning("judge: all %d answers are the same word for word, so this judge may not look at what it is asked: "
                    "see that the image and the caption reach it", totals.answered)  # fmt: skip
    if len(totals.served_by) > 1:
        log.warning("judge: the answers are of %d models, so captions may differ because their judges do: %s",
                    len(totals.served_by), "; ".join(totals.served_by))  # fmt: skip
    return totals


def start_new_attempt(spec: Spec) -> None:
    """Start a new attempt if the last one ended INCOMPLETE: delete its preferences, the judge's totals and the verdict.

    The stored answers stay. The verdict is deleted last. After a kill before that, one more attempt starts. That is
    harmless, because no attempt has asked anything by then.
    """
    try:
        verdict = json_files.load(Verdict, f"{spec.results_uri}/verdict.json")
    except (FileNotFoundError, ValueError):
        return
    if verdict.outcome != "INCOMPLETE":
        return
    log.info("run %s is INCOMPLETE: what has no answer is asked for again", spec.run_uri)
    objects.write(f"{spec.results_uri}/{ATTEMPT_FILE}", uuid.uuid4().hex[:8].encode())
    preference_keys = [
        f"{FOLDER}/{entry.key}" for entry in object_listing.iterate_entries(f"{spec.results_uri}/{FOLDER}")
    ]
    keys = (f"{FOLDER}/manifest.json", *preference_keys, "judge.json", "verdict.json")
    for key in keys:
        if key.endswith(".json"):
            json_files.check_replaceable(f"{spec.results_uri}/{key}")
    for key in keys:
        objects.delete(f"{spec.results_uri}/{key}")


def name_attempt(spec: Spec) -> str:
    """The name that answers are stored with: the run, the request that forced it, and any attempt after the first.

    Each attempt asks again the questions that failed in other attempts.
    """
    try:
        attempt = objects.read(f"{spec.results_uri}/{ATTEMPT_FILE}").decode()
    except FileNotFoundError:
        attempt = ""
    return "-".join(filter(None, (spec.run_id, slug(spec.force) if spec.force else "", attempt)))


def _survey_part(spec: Spec, caption_ids: list[str], run: str, part: str) -> PartSurvey:
    questions = build_questions(spec, caption_ids, part)
    answers = answer_store.load_answers(spec.judge_uri, part, {question.key for question in questions})
    pending = tuple(
        number
        for number, question in enumerate(questions)
        if question.key not in answers or (answers[question.key].failure and answers[question.key].run != run)
    )
    if not pending:
        answer_store.merge_small_files(spec.judge_uri, part)  # a kill may have left small files
    by_number = [answers.get(question.key) for question in questions]
    valid = {number: answer for number, answer in enumerate(by_number) if answer and not answer.failure}
    failed = [answer for answer in by_number if answer and answer.failure]
    return PartSurvey(
        part=part,
        pending=pending,
        totals=compute_totals(by_number, run, spec.suite.judge),
        has_answer_of_run=any(answer.run == run for answer in valid.values()),
        answered_number=next(iter(valid), None),
        texts=frozenset(islice(dict.fromkeys(answer.text for answer in valid.values() if answer.text), 2)),
        fault=next((f"{answer.failure} ({answer.detail})" for answer in failed if answer.detail), None),
    )


def _ask_questions(spec: Spec, caption_ids: list[str], surveys: list[PartSurvey], run: str, began: float) -> None:
    """Ask the pending questions, and store every answer."""
    pending = {survey.part: survey.pending for survey in surveys if survey.pending}
    total = sum(survey.totals.questions for survey in surveys)
    progress = Progress("judge", total, total - sum(map(len, pending.values())), unit="questions")
    if spec.suite.judge.kind == "vllm":
        _ask_engine(spec, caption_ids, pending, run, progress, began)
        return
    from ray_jobs.judge.endpoint import connect, describe_judge  # imported late, because openai takes 0.4 s
    from ray_jobs.judge.endpoint_run import ask_endpoint

    endpoint = connect(spec.suite.judge)
    log.info("judge: asking %s, %d at a time", describe_judge(spec.suite.judge), spec.suite.judge.concurrency)
    ask_endpoint(
        endpoint,
        pending,
        load=partial(_load_questions, spec, caption_ids),
        save=lambda part, answer: answer_store.save_answers(spec.judge_uri, part, [answer]),
        finish_part=partial(answer_store.merge_small_files, spec.judge_uri),
        progress=progress,
        run=run,
        is_proven=any(survey.has_answer_of_run for survey in surveys),
        answered_question=next(
            ((survey.part, survey.answered_number) for survey in surveys if survey.answered_number is not None), None
        ),
    )


def _ask_engine(
    spec: Spec,
    caption_ids: list[str],
    pending: dict[str, tuple[int, ...]],
    run: str,
    progress: Progress,
    began: float,
) -> None:
    """Ask the judge's checkpoint on our own engine, and store each block of answers as it arrives."""
    assert spec.judge
    probe_judge(spec)
    engine, judge = share_gpu(spec).judge, spec.suite.judge
    questions_left = Counter({part: len(numbers) for part, numbers in pending.items()})
    open_parts: dict[str, list[Question]] = {}
    for part, table in stream_parts(
        spec.judge, engine, pending, _make_request_builder(spec, caption_ids), began, whole_parts=False,
        workload=expect_questions(spec),
    ):  # fmt: skip
        if part not in open_parts:
            open_parts[part] = build_questions(spec, caption_ids, part)
        answers = []
        for row in table.to_pylist():
            question, failure, detail = open_parts[part][row["row"]], row["failure"], row["detail"]
            if not failure:
                parse = rubric.parse_pair_answer if question.is_pair else partial(rubric.parse_answer, judge)
                result: Any = parse(row["text"], None)
                failure = result.failure and result.failure.removeprefix("judge-")
                detail = result.fault and describe_fault(
                    judge, result.fault, row["text"], row["finish_reason"] == "length"
                )
            usage = row["prompt_tokens"], row["tokens"]
            answers.append(
                Answer(question.key, row["text"], failure, detail, *usage, run, row["finished"] or time.time())
            )
        answer_store.save_answers(spec.judge_uri, part, answers)
        questions_left[part] -= len(answers)
        if not questions_left[part]:
            answer_store.merge_small_files(spec.judge_uri, part)
            del open_parts[part]
        progress.add(len(answers))


def _make_request_builder(spec: Spec, caption_ids: list[str]) -> Requests:
    """A function that builds the engine's requests for a part. Ray can send the function."""
    judge = spec.suite.judge
    sampling = {
        is_pair: {"max_tokens": judge.max_tokens, "temperature": 0.0, "structured_outputs": {"json": schema(judge)}}
        for is_pair, schema in ((False, rubric.build_schema), (True, rubric.build_pair_schema))
    }

    def requests(part: str, rows: Sequence[int], prompt_builder: PromptBuilder) -> Any:
        for number, (question, image) in zip(rows, _load_questions(spec, caption_ids, part, rows), strict=True):
            yield build_request(part, number, image, question.text, prompt_builder, sampling[question.is_pair])

    return requests


def _load_questions(spec: Spec, caption_ids: list[str], part: str, rows: Sequence[int]) -> list[tuple[Question, bytes]]:
    """The questions of a part with these numbers, each with its golden image."""
    questions = build_questions(spec, caption_ids, part)
    images = parts.read(spec.golden_uri, part, ["image"])["image"]
    return [(questions[number], images[questions[number].row].as_py()) for number in rows]
