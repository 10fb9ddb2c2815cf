"""Render the report's page: collect all its content, and fill in the template. `write_report` calls this."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from ray_jobs.contract.artifacts import Comparison, LimitCheck, Manifest, Scores, Summary
from ray_jobs.contract.spec import Checkpoint, Spec
from ray_jobs.inputs.display_text import sanitise, sanitise_name
from ray_jobs.report import examples, numbers, plots, tables
from ray_jobs.report import trend as series
from ray_jobs.report.rank_images import ScanResult, Side, scan_scores

TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.filters["plain"] = sanitise_name
LENGTH = ("words", "characters")
REASON_CHARACTERS = 1500


@dataclass(frozen=True)
class Headline:
    """The top of the page: a word with its tone (`pass`, `fail`, `unsure`, `missing`, `plain`), and a sentence."""

    title: str
    word: str
    tone: str
    sentence: str


@dataclass(frozen=True)
class PageContext:
    """The input of a page.

    `metrics` are the metrics that mean the same on both sides; None means all. Only these are plotted and used for
    ranking. `judge` has the judge's totals. `notes` are shown below the headline.
    """

    spec: Spec
    scores: Scores
    headline: Headline
    golden: Manifest
    captions: Manifest
    candidate: Side
    current_run: series.TrendRun
    baseline: Side | None = None
    compared_with: Mapping[str, Checkpoint] = field(default_factory=dict)
    comparisons: Sequence[Comparison] = ()
    limits: Sequence[LimitCheck] = ()
    metrics: Sequence[str] | None = None
    judge: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def golden_uri(self) -> str:
        return f"{self.spec.root}/golden/{self.golden.id}"

    @property
    def summaries(self) -> dict[str, Summary]:
        """The summaries of the metrics that can be shown beside the baseline's."""
        alike = self.scores.metrics if self.metrics is None else self.metrics
        return {metric: self.scores.metrics[metric] for metric in alike}


def render_page(context: PageContext) -> str:
    """The page as HTML, without references to other files or hosts."""
    spec, summaries = context.spec, context.summaries
    gating = [metric for metric in spec.suite.gate.metrics if metric in summaries]
    ranking = _choose_ranking(context, gating)
    plotted = gating or [metric for metric, _ in ranking]
    length = next((metric for metric in LENGTH if _has_values(summaries, metric)), None)
    names = [part.name for part in context.scores.manifest.parts if part.rows]
    scan = scan_scores(
        names,
        context.candidate,
        context.baseline,
        list(dict.fromkeys([*plotted, *([length] if length else [])])),
        ranking,
    )
    sides = [context.baseline, context.candidate] if context.baseline else [context.candidate]
    shown_metrics = [*dict.fromkeys([*(metric for metric, _ in ranking), *gating])]
    trends = series.build_trend(spec.root, spec.suite.name, spec.series_id, context.current_run, plotted)
    return TEMPLATES.get_template("report.html").render(
        about=context,
        headline=context.headline,
        sentence=sanitise(context.headline.sentence, REASON_CHARACTERS),
        notes=[sanitise(note, REASON_CHARACTERS) for note in context.notes],
        facts=_list_facts(context),
        identity=_list_ids(context),
        counts=_count_images(context),
        groups=_build_groups(context),
        measured=tables.build_summary_rows(context.scores.metrics),
        columns=tables.list_columns,
        width=tables.WIDTH,
        distributions=_draw_distributions(scan, summaries),
        trends=[(metric, _unit(summaries, metric), points, Markup(plots.draw_trend(points)))  # noqa: S704
                for metric, points in trends.items() if points],
        ranked_by=sanitise_name(ranking[0][0]) if ranking else None,
        worse=examples.build_examples(context.golden_uri, sides, scan.worse, shown_metrics),
        better=examples.build_examples(context.golden_uri, sides, scan.better, shown_metrics),
        failures=examples.build_failures(context.candidate, scan.lost),
        rejects_uri=f"{context.golden_uri}/rejects.html",
        details=tables.flatten_details(context.scores.details),
        judge=tables.flatten_details(context.judge),
        seconds=_list_seconds(context),
        versions={sanitise_name(package): sanitise_name(version)
                  for package, version in (context.golden.versions | context.captions.versions).items()},
    )  # fmt: skip


def _choose_ranking(context: PageContext, gating: Sequence[str]) -> list[tuple[str, int]]:
    """The metric to rank images by and a second metric for ties, each with its direction.

    A metric that FAILs comes first, because the ranked images then show why the run failed.
    """
    moved = {
        comparison.metric: comparison
        for comparison in context.comparisons
        if comparison.difference is not None and comparison.against == "baseline"
    }
    summaries = context.summaries
    first = [metric for metric in gating if not context.baseline or metric in moved]
    first.sort(key=lambda metric: metric not in moved or moved[metric].outcome != "FAIL")
    rest = ["judge", "chrf", *(metric for metric in summaries if tables.direction_of(metric, summaries[metric]))]
    usable = [
        metric for metric in dict.fromkeys([*first, *rest]) if _has_values(summaries, metric) and metric != "preference"
    ]  # no row of scores has the preference, because it compares two captions
    return [
        (metric, direction) for metric in usable if (direction := tables.direction_of(metric, summaries[metric])) != 0
    ][:2]  # fmt: skip


def _build_groups(context: PageContext) -> list[tuple[str, str, list[tables.Row]]]:
    """(title, kind, rows) of the tables: first the gating comparisons, then the limits, then the advisory comparisons.

    Advisory comparisons with the anchor have the kind `aside`. The page folds them, because few readers want them.
    """
    summaries, groups = context.scores.metrics, []
    for advisory in (False, True):
        if advisory:
            groups.append(("Absolute limits", "limits", tables.build_limit_rows(context.limits, summaries)))
        for against, checkpoint in context.compared_with.items():
            of_group = [
                comparison
                for comparison in context.comparisons
                if (comparison.against, comparison.advisory) == (against, advisory)
            ]
            title = f"{'Advisory' if advisory else 'Gating'}, against the {against} {sanitise_name(checkpoint.name)}"
            kind = "gating" if not advisory else "advisory" if against == "baseline" else "aside"
            groups.append((title, kind, tables.build_comparison_rows(of_group, summaries)))
    return [group for group in groups if group[2]]


def _draw_distributions(scan: ScanResult, summaries: Mapping[str, Summary]) -> list[tuple[str, str, str, Markup]]:
    """(metric, unit, means in words, SVG) for each metric with values."""
    distributions = []
    for metric, candidate in scan.candidate.items():
        baseline = scan.baseline.get(metric)
        svg = plots.draw_distribution(candidate, baseline)
        words = f"mean {_format_mean(candidate.mean)}"
        if baseline is not None and baseline.n:
            words += f", of the baseline {_format_mean(baseline.mean)}"
        if svg:
            distributions.append((sanitise_name(metric), _unit(summaries, metric), words, Markup(svg)))  # noqa: S704
    return distributions


def _list_facts(context: PageContext) -> list[tuple[str, str, str]]:
    """(kind of thing, its name, its URI) for each line of facts."""
    checkpoint, spec = context.spec.checkpoint, context.spec
    facts = [("checkpoint", checkpoint.name, checkpoint.uri)]
    facts += [("its base model", base.name, base.uri) for base in (checkpoint.base,) if base]
    facts += [(role, run.name, run.uri) for role, run in context.compared_with.items()]
    facts += [("suite", spec.suite.name, spec.suite.dataset.source), ("prompt", spec.suite.caption.prompt, "")]
    if spec.suite.judge.kind != "none":
        facts.append(("judge", spec.judge.name if spec.judge else spec.suite.judge.model or "", spec.suite.judge.kind))
    return [(role, sanitise_name(name), sanitise_name(uri)) for role, name, uri in facts]


def _list_ids(context: PageContext) -> dict[str, str]:
    spec = context.spec
    ids = {"run": spec.run_id, "golden set": spec.golden_id, "captions": spec.caption_id,
            "series": spec.series_id, "scale": spec.scoring_id, "fingerprint": spec.checkpoint.fingerprint,
            "stored in": spec.run_uri}  # fmt: skip
    return {noun: sanitise_name(value) for noun, value in ids.items()}


def _count_images(context: PageContext) -> list[tuple[str, str, dict[str, int]]]:
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


def _list_seconds(context: PageContext) -> list[tuple[str, dict[str, str]]]:
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


def _has_values(summaries: Mapping[str, Summary], metric: str) -> bool:
    return metric in summaries and summaries[metric].n > 0


def _format_mean(value: float | None) -> str:
    return numbers.format_number(value, numbers.choose_decimals(value))


def _unit(summaries: Mapping[str, Summary], metric: str) -> str:
    return tables.unit_of(metric, summaries.get(metric))
