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
from ray_jobs.contract.share_doubts import find_share_doubts
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
MAX_NOTES = 30
MAX_FAULTS = 3  # of one kind


@dataclass
class CheckResult:
    """The results of all checks. A result that could not be computed is None or empty, and a finding has the reason."""

    suite_name: str
    checkpoint_uri: str | None
    findings: Findings = field(default_factory=Findings)
    suite: Suite | None = None
    revision: str | None = None
    listing: Listing | None = None
    images: list[SampleImage] = field(default_factory=list)
    model: Model | None = None
    prompt: RenderedPrompt | None = None
    judge_model: Model | None = None
    judge_prompt: RenderedPrompt | None = None
    judge_examples: list[JudgeExample] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def choose_page_images(self) -> list[SampleImage]:
        """Returns the images that the page shows: at most five usable ones, spread over the prepared images."""
        usable = [image for image in self.images if isinstance(image.image, GoldenImage)]
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
    result = CheckResult(suite_name, checkpoint_uri)
    collector = _NoteCollector(result.notes)
    log.addHandler(collector)
    log.setLevel(logging.INFO)
    try:
        _check_all(result, sample, ask_judge)
    finally:
        log.removeHandler(collector)
    return result


class _NoteCollector(logging.Handler):
    """Keeps the log lines of the jobs' functions, each line once. They name the chosen files and columns."""

    def __init__(self, notes: list[str]) -> None:
        super().__init__(logging.INFO)
        self._notes = notes

    def emit(self, record: logging.LogRecord) -> None:
        line = printable(record.getMessage(), CHARACTERS)
        if len(self._notes) < MAX_NOTES and line not in self._notes:
            self._notes.append(line)


def _check_all(result: CheckResult, sample: int, ask_judge: bool) -> None:
    suite_name, checkpoint_uri = result.suite_name, result.checkpoint_uri
    result.suite = result.findings.attempt("suite", suites.load_suite, suite_name, True)
    suite = result.suite
    if suite is not None:
        result.findings.add_doubts("suite", find_share_doubts(suite))
        _check_images(result, suite, sample)
        _check_tables(result, suite)
    if checkpoint_uri is not None:
        _check_model(result, suite, checkpoint_uri)
    if suite is not None and suite.judge.kind != "none":
        _check_judge(result, suite, ask_judge)


def _check_images(result: CheckResult, suite: Suite, sample: int) -> None:
    findings = result.findings
    result.revision = findings.attempt("data set", revision.source_revision, suite.dataset)
    if result.revision is None:
        return
    listed = findings.attempt("data set", list_images, suite.dataset, sample)
    if listed is None:
        return
    result.listing, source = listed
    if not result.listing.image_count:
        findings.add("bad input", "data set", f"dataset {suite.dataset.source}: it has no rows; check URI and split")
        return
    images = findings.attempt("data set", prepare_images, source, result.listing.chosen, suite.preprocess)
    result.images = images or []
    if not result.images:
        return
    if not any(isinstance(image.image, GoldenImage) for image in result.images):
        findings.add("bad input", "data set", f"none of the {len(result.images)} images looked at can be used")
    for fault in islice(data_doubts.find_truth_faults(suite, result.images), MAX_FAULTS):
        findings.add("bad input", "truth", fault)
    for about, doubts in (
        ("data set", data_doubts.find_image_doubts),
        ("labels", data_doubts.find_label_doubts),
        ("references", data_doubts.find_reference_doubts),
        ("truth", data_doubts.find_truth_doubts),
    ):
        findings.add_doubts(about, doubts(suite, result.listing, result.images))
    findings.add_doubts("gate", sample_size.find_size_doubts(suite, result.listing.sample_count))


def _check_tables(result: CheckResult, suite: Suite) -> None:
    """Check the files beside the suite: synonyms, a team's own metrics, and the CLIP model."""
    if suite.metrics.synonyms:
        result.findings.attempt("suite", suites.load_synonyms, suite.metrics.synonyms)
    if suite.metrics.own:
        sources = result.findings.attempt("suite", suites.read_custom_metrics, suite.metrics.own)
        if sources is not None:
            result.findings.attempt("suite", custom.load_metrics, sources, tuple(BUILT_IN))
    if suite.metrics.clip:
        result.findings.attempt("CLIP", model.resolve_clip, suite.metrics.clip)


def _check_model(result: CheckResult, suite: Suite | None, uri: str) -> None:
    suite_engine = suite.engine if suite else Engine()
    result.model = result.findings.attempt("checkpoint", model.resolve_model, uri, suite_engine.base_model)
    if result.model is None or suite is None:
        return
    texts = _build_likely_answers(suite, result.images)
    prompt, most = suite.caption.prompt, suite.caption.max_tokens
    result.prompt = _check_prompt(result, "checkpoint", result.model, suite_engine, prompt, texts, most, "caption")
    if result.prompt:
        noun = "answers" if suite.caption.schema_of_fields else "references"
        result.findings.add_doubts("prompt", model_doubts.find_length_doubts(result.prompt, texts, most, noun))


def _build_likely_answers(suite: Suite, images: Sequence[SampleImage]) -> list[str]:
    """Returns possible right answers: the references, or for a suite with fields, JSON objects with the truth."""
    schema = suite.caption.schema_of_fields
    if not schema:
        return [text for image in images for text in image.row.references]
    answers = []
    for row in (image.row for image in images if image.row.truth):
        answer = dict.fromkeys(schema["properties"], "") | {"caption": next(iter(row.references), "")}
        answers.append(json.dumps({name: value for name, value in (answer | json.loads(row.truth or "{}")).items()
                                   if name in schema["properties"]}))  # fmt: skip
    return answers


def _check_judge(result: CheckResult, suite: Suite, ask: bool) -> None:
    findings, settings = result.findings, suite.judge
    result.judge_examples = [
        JudgeExample(judge.build_question(settings, image.row.references)) for image in result.choose_page_images()
    ]
    if settings.kind == "openai":
        findings.attempt("judge", check_destination, settings)
    else:
        assert settings.model
        result.judge_model = findings.attempt("judge", model.resolve_model, settings.model, settings.engine.base_model)
        if result.judge_model is None:
            return
        text = result.judge_examples[0].question if result.judge_examples else settings.prompt
        result.judge_prompt = _check_prompt(
            result, "judge", result.judge_model, settings.engine, text, [], settings.max_tokens, "judge"
        )
    if not ask or not result.judge_examples:
        return
    if settings.kind == "openai":
        examples = findings.attempt("judge", judge.ask_endpoint, settings, result.choose_page_images())
    else:
        assert result.judge_model
        examples = findings.attempt(
            "judge", judge_engine.ask_engine, settings, result.judge_model.checkpoint, result.choose_page_images()
        )
    result.judge_examples = examples or result.judge_examples
    findings.add_doubts("judge", judge.find_judge_doubts(examples or ()))


def _check_prompt(
    result: CheckResult,
    about: Literal["checkpoint", "judge"],
    opened: Model,
    engine: Engine,
    text: str,
    texts: Sequence[str],
    most: int,
    setting: str,
) -> RenderedPrompt | None:
    """Returns the text as the checkpoint's chat template renders it; None if that fails. Adds doubts to the findings.

    Args:
        about: Which model the findings are about.
        texts: Texts that the model might answer, to measure in tokens.
        most: The most tokens of an answer.
        setting: The section of the suite that has the text.
    """
    assert result.suite
    sizes = [(image.image.width, image.image.height) for image in result.images if isinstance(image.image, GoldenImage)]
    sizes = list(dict.fromkeys([*sizes, model.compute_largest_size(result.suite.preprocess)]))
    rendered = None
    grammar = grammar_of(result.suite.caption) if about == "checkpoint" else None
    if result.findings.attempt(about, model.try_files, opened.checkpoint, text, grammar):
        rendered = result.findings.attempt(about, model.render_prompt, opened.checkpoint, text, sizes, texts)
    fault = result.findings.attempt(about, model.find_engine_fault, opened.checkpoint, engine) if rendered else None
    result.findings.add_doubts(about, model_doubts.find_model_doubts(opened, engine, fault))
    if rendered:
        result.findings.add_doubts("prompt" if about == "checkpoint" else about,
                               model_doubts.find_prompt_doubts(rendered, engine, most, setting))  # fmt: skip
    return rendered
