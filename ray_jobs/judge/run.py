"""The judge's answers about a run: what was never answered is asked, once, by one engine or endpoint for all of it.

Answers are kept by content (image and question), so a rerun, another metric, gate or baseline, or another checkpoint
with the same caption asks nothing. An answer stands for ever. A failure stands for the attempt that met it, killed and
resumed or not, until that has its verdict; whoever needs the answer then asks again, complete scores or not.
"""

import logging
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial, reduce
from itertools import islice
from typing import Any

from ray_jobs.contract.artifacts import Verdict
from ray_jobs.contract.ids import slug
from ray_jobs.contract.prompt_tokens import texts_for_judge
from ray_jobs.contract.spec import Spec
from ray_jobs.engine.client.stream import EngineTimings, stream_parts
from ray_jobs.engine.probe.checkpoint_probe import probe
from ray_jobs.engine.prompt import PromptBuilder
from ray_jobs.engine.protocol import Requests, build_request
from ray_jobs.judge import answer_store, rubric
from ray_jobs.judge.answer_store import Answer
from ray_jobs.judge.completion import describe_fault
from ray_jobs.judge.endpoint import connect, describe_judge
from ray_jobs.judge.endpoint_run import ask_endpoint
from ray_jobs.judge.preference import FOLDER
from ray_jobs.judge.questions import Question, build_questions
from ray_jobs.judge.totals import JudgeTotals, compute_totals
from ray_jobs.runtime.progress import Progress
from ray_jobs.storage import json_files, objects, parts

log = logging.getLogger("assay")

ATTEMPT_FILE = "attempt"  # the file in the run that names its attempt, where that is not the first
IDENTICAL_ANSWERS = 10  # answers that are all the same before a judge is doubted
READERS = 16  # threads that look for answers: most of it is waiting for storage


@dataclass(frozen=True)
class PartSurvey:
    """A part's questions that are to be asked, by number, and the totals of all of them as they are now. `proven`: this
    run has had a valid answer. `known`: the number of a question that has one, whoever asked. `texts`: two of the valid
    answers that differ, the one that there is, or none. `fault` is what was wrong with one that is not valid."""

    part: str
    pending: tuple[int, ...]
    totals: JudgeTotals
    proven: bool
    known: int | None
    texts: frozenset[str]
    fault: str | None


def run_judge(spec: Spec, caption_ids: Sequence[str]) -> JudgeTotals:
    """Have the judge answer every question about these captions, and about the pairs when the suite compares them.

    The totals are written to `{results_uri}/judge.json` too.
    """
    began = time.time()
    ids = list(dict.fromkeys(caption_ids))
    names = [part.name for part in parts.require(spec.captions_uri, "caption").parts if part.rows]
    for caption_id in ids:
        parts.require(spec.captions_uri_of(caption_id), "caption")
    run = name_attempt(spec)
    look = partial(_survey_part, spec, ids, run)
    with ThreadPoolExecutor(READERS) as pool:
        found = list(pool.map(look, names))
        if any(one.pending for one in found):
            _ask_pending(spec, ids, found, run, EngineTimings(began))
            found = list(pool.map(look, names))
            took = round(time.time() - began, 3)
        else:
            took = 0.0
    totals = reduce(JudgeTotals.plus, (one.totals for one in found), JudgeTotals(seconds=took))
    uri = f"{spec.results_uri}/judge.json"
    if objects.exists(uri):
        totals = replace(totals, seconds=totals.seconds + json_files.load_json(uri)["seconds"])
    objects.write(uri, json_files.dump_json(asdict(totals)))
    log.info("judge: %d of %d questions answered, %d cached, failed %s, %d + %d tokens, cost %.4f, %.1f s",
             totals.answered, totals.questions, totals.cached, totals.failed, totals.spent.prompt_tokens,
             totals.spent.completion_tokens, totals.spent.cost, totals.seconds)  # fmt: skip
    if fault := next((survey.fault for survey in found if survey.fault), None):
        log.warning("judge: %d questions have no answer, one because of: %s", sum(totals.failed.values()), fault)
    if totals.answered >= IDENTICAL_ANSWERS and len(frozenset().union(*(survey.texts for survey in found))) == 1:
        log.warning("judge: all %d answers are the same word for word, so this judge may not look at what it is asked: "
                    "see that the image and the caption reach it", totals.answered)  # fmt: skip
    if len(totals.served_by) > 1:
        log.warning("judge: the answers are of %d models, so captions may differ because their judges do: %s",
                    len(totals.served_by), "; ".join(totals.served_by))  # fmt: skip
    return totals


def start_new_attempt(spec: Spec) -> None:
    """Begin a new attempt at a run whose last one ended INCOMPLETE, in which nothing stands but answers.

    The verdict goes last, so a kill before that begins yet another attempt: no question was asked in this one.
    """
    try:
        verdict = json_files.load(Verdict, f"{spec.results_uri}/verdict.json")
    except (FileNotFoundError, ValueError):
        return
    if verdict.outcome != "INCOMPLETE":
        return
    log.info("run %s is INCOMPLETE: what has no answer is asked for again", spec.run_uri)
    objects.write(f"{spec.results_uri}/{ATTEMPT_FILE}", uuid.uuid4().hex[:8].encode())
    held = [f"{FOLDER}/{entry.key}" for entry in objects.entries(f"{spec.results_uri}/{FOLDER}")]
    keys = (f"{FOLDER}/manifest.json", *held, "judge.json", "verdict.json")
    for key in keys:
        if key.endswith(".json"):
            json_files.check_replaceable(f"{spec.results_uri}/{key}")
    for key in keys:
        objects.delete(f"{spec.results_uri}/{key}")


def name_attempt(spec: Spec) -> str:
    """Who asks: the run, the request that forced it, and the attempt when it is not the first. Each asks again about
    what failed for the others."""
    try:
        attempt = objects.read(f"{spec.results_uri}/{ATTEMPT_FILE}").decode()
    except FileNotFoundError:
        attempt = ""
    return "-".join(filter(None, (spec.run_id, slug(spec.force) if spec.force else "", attempt)))


def _survey_part(spec: Spec, caption_ids: list[str], run: str, part: str) -> PartSurvey:
    asked = build_questions(spec, caption_ids, part)
    kept = answer_store.load_answers(spec.judge_uri, part, {one.key for one in asked})
    pending = tuple(
        number
        for number, one in enumerate(asked)
        if one.key not in kept or (kept[one.key].failure and kept[one.key].run != run)
    )
    if not pending:
        answer_store.merge_small_files(spec.judge_uri, part)  # a kill may have left its small files
    found = [kept.get(one.key) for one in asked]
    proven = any(one and not one.failure and one.run == run for one in found)
    known = next((number for number, one in enumerate(found) if one and not one.failure), None)
    texts = frozenset(islice(dict.fromkeys(one.text for one in found if one and one.text and not one.failure), 2))
    fault = next((f"{one.failure} ({one.detail})" for one in found if one and one.failure and one.detail), None)
    return PartSurvey(part, pending, compute_totals(found, run, spec.suite.judge), proven, known, texts, fault)


def _ask_pending(spec: Spec, caption_ids: list[str], found: list[PartSurvey], run: str, times: EngineTimings) -> None:
    """Ask what is pending, and make every answer durable."""
    pending = {one.part: one.pending for one in found if one.pending}
    total = sum(one.totals.questions for one in found)
    progress = Progress("judge", total, total - sum(map(len, pending.values())), unit="questions")
    if spec.suite.judge.kind == "vllm":
        _ask_engine(spec, caption_ids, pending, run, progress, times)
        return
    endpoint = connect(spec.suite.judge)
    log.info("judge: asking %s, %d at a time", describe_judge(spec.suite.judge), spec.suite.judge.concurrency)
    ask_endpoint(
        endpoint,
        pending,
        load=partial(_load_questions, spec, caption_ids),
        keep=lambda part, answer: answer_store.save_answers(spec.judge_uri, part, [answer]),
        whole=partial(answer_store.merge_small_files, spec.judge_uri),
        progress=progress,
        run=run,
        proven=any(one.proven for one in found),
        known=next(((one.part, one.known) for one in found if one.known is not None), None),
    )


def _ask_engine(
    spec: Spec,
    caption_ids: list[str],
    pending: dict[str, tuple[int, ...]],
    run: str,
    progress: Progress,
    times: EngineTimings,
) -> None:
    """Ask the judge's checkpoint on our own engine; every block of answers is durable the moment it is there."""
    assert spec.judge
    probe(spec.judge, texts=texts_for_judge(spec.suite))
    engine, judge = spec.suite.judge.engine, spec.suite.judge
    left = Counter({part: len(numbers) for part, numbers in pending.items()})
    open_parts: dict[str, list[Question]] = {}
    for part, table in stream_parts(
        spec.judge, engine, pending, _request_builder(spec, caption_ids), times, whole=False
    ):
        if part not in open_parts:
            open_parts[part] = build_questions(spec, caption_ids, part)
        made = []
        for row in table.to_pylist():
            asked, failure, detail = open_parts[part][row["row"]], row["failure"], row["detail"]
            if not failure:
                read = rubric.parse_pair_answer if asked.pair else partial(rubric.parse_answer, judge)
                said: Any = read(row["text"], None)
                failure = said.failure and said.failure.removeprefix("judge-")
                detail = said.fault and describe_fault(judge, said.fault, row["text"], row["finish_reason"] == "length")
            spent = row["prompt_tokens"], row["tokens"]
            made.append(Answer(asked.key, row["text"], failure, detail, *spent, run, row["finished"] or time.time()))
        answer_store.save_answers(spec.judge_uri, part, made)
        left[part] -= len(made)
        if not left[part]:
            answer_store.merge_small_files(spec.judge_uri, part)
            del open_parts[part]
        progress.add(len(made))


def _request_builder(spec: Spec, caption_ids: list[str]) -> Requests:
    """What to ask the engine about a part, as a function that Ray can send."""
    judge = spec.suite.judge
    sampling = {
        pair: {"max_tokens": judge.max_tokens, "temperature": 0.0, "structured_outputs": {"json": schema(judge)}}
        for pair, schema in ((False, rubric.build_schema), (True, rubric.build_pair_schema))
    }

    def requests(part: str, rows: Sequence[int], maker: PromptBuilder) -> Any:
        for number, (asked, image) in zip(rows, _load_questions(spec, caption_ids, part, rows), strict=True):
            yield build_request(part, number, image, asked.text, maker, sampling[asked.pair])

    return requests


def _load_questions(spec: Spec, caption_ids: list[str], part: str, rows: Sequence[int]) -> list[tuple[Question, bytes]]:
    """The questions of a part with these numbers, each with its golden image."""
    asked = build_questions(spec, caption_ids, part)
    images = parts.read(spec.golden_uri, part, ["image"])["image"]
    return [(asked[number], images[asked[number].row].as_py()) for number in rows]
