"""Run every check of a suite in turn. A fault ends only its own check.

`ray_jobs.suite_check` calls this, in its own process, without Ray.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

from ray_jobs.checks import data_doubts, judge, judge_engine, model, model_doubts, sample_size
from ray_jobs.checks.findings import CHARACTERS, Findings
from ray_jobs.checks.images import Listing, SampleImage, list_images, prepare_images
from ray_jobs.checks.judge import JudgeExample
from ray_jobs.checks.model import Model, RenderedPrompt
from ray_jobs.contract.sections.engine import Engine
from ray_jobs.contract.suite import Suite
from ray_jobs.dataset import revision
from ray_jobs.fields.grammar import grammar_of
from ray_jobs.images.prepare import GoldenImage
from ray_jobs.inputs.names import printable
from ray_jobs.judge.destination import check_destination
from ray_jobs.metrics import custom
from ray_jobs.metrics.registry import BUILT_IN
from ray_jobs.planning import suites

log = logging.getLogger("assay")
MAX_SHOWN = 5  # images
MOST_NOTES = 30
MOST_FAULTS = 3  # of one kind


@dataclass
class CheckResult:
    """The results of all checks. A result that could not be computed is None or empty, and a finding says why."""

    suite_name: str
    checkpoint_uri: str | None
    findings: Findings = field(default_factory=Findings)
    suite: Suite | None = None
    revision: str | None = None
    listing: Listing | None = None
    looked: list[SampleImage] = field(default_factory=list)
    model: Model | None = None
    prompt: RenderedPrompt | None = None
    judge_model: Model | None = None
    judge_prompt: RenderedPrompt | None = None
    asked: list[JudgeExample] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def choose_shown(self) -> list[SampleImage]:
        """The images that the page shows: at most five usable ones, spread over the prepared images."""
        usable = [image for image in self.looked if isinstance(image.image, GoldenImage)]
        return (
            [usable[number * len(usable) // MAX_SHOWN] for number in range(MAX_SHOWN)]
            if len(usable) > MAX_SHOWN
            else usable
        )


def check_suite(suite_name: str, checkpoint_uri: str | None, sample: int, ask_judge: bool) -> CheckResult:
    """Check everything that the jobs will use, without Ray and without a GPU.

    Args:
        checkpoint_uri: The checkpoint to check; None checks the suite only.
        sample: The number of images to prepare.
        ask_judge: Ask the judge real questions, which may cost money or need a GPU.
    """
    checked = CheckResult(suite_name, checkpoint_uri)
    collector = _NoteCollector(checked.notes)
    log.addHandler(collector)
    log.setLevel(logging.INFO)
    try:
        _check_all(checked, sample, ask_judge)
    finally:
        log.removeHandler(collector)
    return checked


class _NoteCollector(logging.Handler):
    """Keeps the log lines of the jobs' own functions, each line once. They say which files or columns were chosen."""

    def __init__(self, notes: list[str]) -> None:
        super().__init__(logging.INFO)
        self._notes = notes

    def emit(self, record: logging.LogRecord) -> None:
        line = printable(record.getMessage(), CHARACTERS)
        if len(self._notes) < MOST_NOTES and line not in self._notes:
            self._notes.append(line)


def _check_all(checked: CheckResult, sample: int, ask_judge: bool) -> None:
    suite_name, checkpoint_uri = checked.suite_name, checked.checkpoint_uri
    checked.suite = checked.findings.attempt("suite", suites.load_suite, suite_name, True)
    suite = checked.suite
    if suite is not None:
        _check_images(checked, suite, sample)
        _check_tables(checked, suite)
    if checkpoint_uri is not None:
        _check_model(checked, suite, checkpoint_uri)
    if suite is not None and suite.judge.kind != "none":
        _check_judge(checked, suite, ask_judge)


def _check_images(checked: CheckResult, suite: Suite, sample: int) -> None:
    findings = checked.findings
    checked.revision = findings.attempt("data set", revision.source_revision, suite.dataset)
    if checked.revision is None:
        return
    listed = findings.attempt("data set", list_images, suite.dataset, sample)
    if listed is None:
        return
    checked.listing, source = listed
    if not checked.listing.listed:
        findings.add("bad input", "data set", f"dataset {suite.dataset.source}: it has no rows; check URI and split")
        return
    looked = findings.attempt("data set", prepare_images, source, checked.listing.chosen, suite.preprocess)
    checked.looked = looked or []
    if not checked.looked:
        return
    if not any(isinstance(image.image, GoldenImage) for image in checked.looked):
        findings.add("bad input", "data set", f"none of the {len(checked.looked)} images looked at can be used")
    for fault in islice(data_doubts.truth_faults(suite, checked.looked), MOST_FAULTS):
        findings.add("bad input", "truth", fault)
    for about, doubts in (
        ("data set", data_doubts.image_doubts),
        ("labels", data_doubts.label_doubts),
        ("references", data_doubts.reference_doubts),
        ("truth", data_doubts.truth_doubts),
    ):
        findings.doubt(about, doubts(suite, checked.listing, checked.looked))
    findings.doubt("gate", sample_size.size_doubts(suite, checked.listing.used))


def _check_tables(checked: CheckResult, suite: Suite) -> None:
    """Check the files beside the suite: synonyms, a team's own metrics, and the CLIP model."""
    if suite.metrics.synonyms:
        checked.findings.attempt("suite", suites.load_synonyms, suite.metrics.synonyms)
    if suite.metrics.own:
        sources = checked.findings.attempt("suite", suites.read_custom_metrics, suite.metrics.own)
        if sources is not None:
            checked.findings.attempt("suite", custom.load_metrics, sources, tuple(BUILT_IN))
    if suite.metrics.clip:
        checked.findings.attempt("CLIP", model.resolve_clip, suite.metrics.clip)


def _check_model(checked: CheckResult, suite: Suite | None, uri: str) -> None:
    suite_engine = suite.engine if suite else Engine()
    checked.model = checked.findings.attempt("checkpoint", model.resolve_model, uri, suite_engine.base_model)
    if checked.model is None or suite is None:
        return
    texts = _likely_answers(suite, checked.looked)
    prompt, most = suite.caption.prompt, suite.caption.max_tokens
    checked.prompt = _check_prompt(checked, "checkpoint", checked.model, suite_engine, prompt, texts, most, "caption")
    if checked.prompt:
        noun = "answers" if suite.caption.schema_of_fields else "references"
        checked.findings.doubt("prompt", model_doubts.length_doubts(checked.prompt, texts, most, noun))


def _likely_answers(suite: Suite, looked: Sequence[SampleImage]) -> list[str]:
    """Possible right answers: the references; in a suite with fields, JSON objects with a reference and the truth."""
    schema = suite.caption.schema_of_fields
    if not schema:
        return [text for image in looked for text in image.row.references]
    answers = []
    for row in (image.row for image in looked if image.row.truth):
        answer = dict.fromkeys(schema["properties"], "") | {"caption": next(iter(row.references), "")}
        answers.append(json.dumps({name: value for name, value in (answer | json.loads(row.truth or "{}")).items()
                                   if name in schema["properties"]}))  # fmt: skip
    return answers


def _check_judge(checked: CheckResult, suite: Suite, ask: bool) -> None:
    findings, settings = checked.findings, suite.judge
    checked.asked = [
        JudgeExample(judge.build_question(settings, image.row.references)) for image in checked.choose_shown()
    ]
    if settings.kind == "openai":
        findings.attempt("judge", check_destination, settings)
    else:
        assert settings.model
        checked.judge_model = findings.attempt("judge", model.resolve_model, settings.model, settings.engine.base_model)
        if checked.judge_model is None:
            return
        text = checked.asked[0].question if checked.asked else settings.prompt
        checked.judge_prompt = _check_prompt(
            checked, "judge", checked.judge_model, settings.engine, text, [], settings.max_tokens, "judge"
        )
    if not ask or not checked.asked:
        return
    if settings.kind == "openai":
        examples = findings.attempt("judge", judge.ask_endpoint, settings, checked.choose_shown())
    else:
        assert checked.judge_model
        examples = findings.attempt(
            "judge", judge_engine.ask_engine, settings, checked.judge_model.checkpoint, checked.choose_shown()
        )
    checked.asked = examples or checked.asked
    findings.doubt("judge", judge.judge_doubts(examples or ()))


def _check_prompt(
    checked: CheckResult,
    about: Literal["checkpoint", "judge"],
    opened: Model,
    engine: Engine,
    text: str,
    texts: Sequence[str],
    most: int,
    setting: str,
) -> RenderedPrompt | None:
    """The text as the checkpoint's chat template renders it; None when that fails. Doubts become findings.

    Args:
        about: Which model the findings are about.
        texts: Texts that the model might answer, to measure in tokens.
        most: The most tokens of an answer.
        setting: The section of the suite that has the text.
    """
    assert checked.suite
    sizes = [
        (image.image.width, image.image.height) for image in checked.looked if isinstance(image.image, GoldenImage)
    ]
    sizes = list(dict.fromkeys([*sizes, model.compute_largest_size(checked.suite.preprocess)]))
    rendered = None
    grammar = grammar_of(checked.suite.caption) if about == "checkpoint" else None
    if checked.findings.attempt(about, model.try_files, opened.checkpoint, text, grammar):
        rendered = checked.findings.attempt(about, model.render_prompt, opened.checkpoint, text, sizes, texts)
    fault = checked.findings.attempt(about, model.find_engine_fault, opened.checkpoint, engine) if rendered else None
    checked.findings.doubt(about, model_doubts.model_doubts(opened, engine, fault))
    if rendered:
        checked.findings.doubt("prompt" if about == "checkpoint" else about,
                               model_doubts.prompt_doubts(rendered, engine, most, setting))  # fmt: skip
    return rendered
