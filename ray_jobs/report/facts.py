"""List the facts of a page as texts: what was run, its links, its ids, its counts of images and its times.

`report.page` calls this.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from ray_jobs.inputs.display_text import sanitise_name
from ray_jobs.report import numbers
from ray_jobs.report import trend as series
from ray_jobs.report.intervals import find_reaches, scale_of
from ray_jobs.report.links import path_of_report
from ray_jobs.report.page_context import PageContext

REASON_CHARACTERS = 1500


def list_links(context: PageContext, runs: Sequence[series.TrendRun]) -> list[tuple[str, str]]:
    """(words, link) for each way out of the page. `external` ways are the addresses of Assay's pages."""
    links, this = context.links, f"{context.spec.checkpoint.folder}/{context.spec.run_id}"
    ways = []
    if context.baseline_run and context.baseline:
        ways.append((f"baseline {context.baseline.name}", links.to_file(path_of_report(context.baseline_run))))
    for role, run in series.find_neighbours(runs, context.current_run).items():
        if run.path != context.baseline_run:
            ways.append((f"{role} {run.checkpoint.name}", links.to_file(path_of_report(run.path))))
    ways.append(("rejects", links.to_file(f"golden/{context.golden.id}/rejects.html") if context.golden.lost else ""))
    ways += [("this run in Airflow", links.to_page("run", this)), ("all images", links.to_page("explorer", this))]
    return [(sanitise_name(words), link) for words, link in ways if link]


def list_scales(context: PageContext) -> str:
    """The units that several compared metrics have, each with the end of its drawings' scale, for the legend."""
    summaries = context.scores.metrics
    reaches = find_reaches(context.comparisons, summaries)
    metrics = {comparison.metric for comparison in context.comparisons}
    shared = Counter(scale_of(metric, summaries) for metric in metrics)
    return ", ".join(
        f"{sanitise_name(unit)} \u00b1{numbers.format_number(reach, max(0, numbers.choose_decimals(reach) - 1))}"
        for unit, reach in reaches.items()
        if reach and shared[unit] > 1
    )


def list_facts(context: PageContext) -> list[tuple[str, str, str]]:
    """(kind of thing, its name, its URI) for each line of facts."""
    checkpoint, spec = context.spec.checkpoint, context.spec
    facts = [("checkpoint", checkpoint.name, checkpoint.uri)]
    facts += [("its base model", base.name, base.uri) for base in (checkpoint.base,) if base]
    facts += [(role, run.name, run.uri) for role, run in context.compared_with.items()]
    facts += [("suite", spec.suite.name, spec.suite.dataset.source), ("prompt", spec.suite.caption.prompt, "")]
    if spec.suite.judge.kind != "none":
        facts.append(("judge", spec.judge.name if spec.judge else spec.suite.judge.model or "", spec.suite.judge.kind))
    return [(role, sanitise_name(name), sanitise_name(uri)) for role, name, uri in facts]


def list_ids(context: PageContext) -> dict[str, str]:
    spec = context.spec
    ids = {"run": spec.run_id, "golden set": spec.golden_id, "captions": spec.caption_id,
            "series": spec.series_id, "scale": spec.scoring_id, "fingerprint": spec.checkpoint.fingerprint,
            "stored in": spec.run_uri, "reason as recorded": context.headline.sentence[:REASON_CHARACTERS]}  # fmt: skip
    return {noun: sanitise_name(value) for noun, value in ids.items()}


def count_images(context: PageContext) -> list[tuple[str, str, dict[str, int]]]:
    """(stage, number of images, number by reason), from the source to the scores."""
    golden, captions, scores = context.golden, context.captions, context.scores
    rows: list[tuple[str, int, Mapping[str, int]]] = [
        ("read", golden.rows_in, {}),
        ("rejected", sum(golden.lost.values()), golden.lost),
        ("captioned", captions.rows_out, {}),
        ("without a caption", sum(captions.lost.values()), captions.lost),
        ("scored", scores.scored, {}),
        ("without a score", sum(scores.failed.values()), scores.failed),
    ]
    return [
        (
            step,
            numbers.format_count(count),
            {
                sanitise_name(reason): images
                for reason, images in sorted(reasons.items(), key=lambda reason: -reason[1])
            },
        )
        for step, count, reasons in rows
    ]


def list_seconds(context: PageContext) -> list[tuple[str, dict[str, str]]]:
    stages = {"preprocess": context.golden, "caption": context.captions, "evaluate": context.scores.manifest}
    return [
        (
            stage,
            {
                sanitise_name(phase): numbers.format_seconds(seconds)
                for phase, seconds in stage_manifest.seconds.items()
            },
        )
        for stage, stage_manifest in stages.items()
        if stage_manifest.seconds
    ]
