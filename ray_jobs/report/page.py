"""Render the report's page: collect all its content, and fill in the template. `write_report` calls this."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2

from ray_jobs.contract.artifacts import Summary
from ray_jobs.inputs.display_text import sanitise, sanitise_name
from ray_jobs.report import examples, tables
from ray_jobs.report import trend as series
from ray_jobs.report.facts import (
    REASON_CHARACTERS,
    count_images,
    list_facts,
    list_ids,
    list_links,
    list_scales,
    list_seconds,
)
from ray_jobs.report.figures import draw_distributions, draw_trends
from ray_jobs.report.galleries import build_gallery
from ray_jobs.report.headline import YES_OR_NO, explain_change, sign_intervals
from ray_jobs.report.image_kinds import MAX_CRITERIA
from ray_jobs.report.intervals import WIDTH, find_reaches
from ray_jobs.report.page_context import PageContext
from ray_jobs.report.rank_images import scan_scores

TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.filters["plain"] = sanitise_name
LENGTH = ("words", "characters")
# The colour of the icon in the browser's tab; it has to be readable on light and dark.
ICON_COLOURS = {"pass": "2da44e", "fail": "d1383d", "unsure": "c58b00", "missing": "7d8590", "plain": "2463c0"}


def render_page(context: PageContext) -> str:
    """The page as HTML, without references to other files or hosts, apart from links."""
    spec, summaries = context.spec, context.summaries
    gating = [metric for metric in spec.suite.gate.metrics if metric in summaries]
    ranking = _choose_ranking(context, gating)
    plotted = gating or [metric for metric, _ in ranking]
    length = next((metric for metric in LENGTH if _has_values(summaries, metric)), None)
    names = [part.name for part in context.scores.manifest.parts if part.rows]
    ranked_by = ranking[0][0] if ranking else ""
    criteria = _list_criteria(summaries, ranked_by)
    scan = scan_scores(
        names,
        context.candidate,
        context.baseline,
        list(dict.fromkeys([*plotted, *([length] if length else [])])),
        ranking,
        {metric: tables.direction_of(metric, summaries.get(metric)) for metric in [*gating, *criteria]},
        criteria,
    )
    sides = [context.baseline, context.candidate] if context.baseline else [context.candidate]
    shown_metrics = [*dict.fromkeys([*(metric for metric, _ in ranking), *gating])]
    judged = [f"judge_{name}" for name in spec.suite.judge.criteria if f"judge_{name}" in summaries]
    runs = series.list_runs(spec.root, spec.suite.name, spec.series_id, context.current_run)
    explanation = explain_change(context.comparisons, context.headline.word, summaries, scan, ranked_by)
    reason = sign_intervals(context.headline.sentence, context.comparisons)
    groups = _build_groups(context)
    return TEMPLATES.get_template("report.html").render(
        about=context,
        headline=context.headline,
        icon_colour=ICON_COLOURS[context.headline.tone],
        explanation=explanation,
        sentence=sanitise(reason, REASON_CHARACTERS),
        notes=[sanitise(note, REASON_CHARACTERS) for note in context.notes],
        ways=list_links(context, runs),
        facts=list_facts(context),
        identity=list_ids(context),
        counts=count_images(context),
        groups=groups,
        scales=list_scales(context),
        measured=tables.build_summary_rows(context.scores.metrics),
        columns=tables.list_columns,
        methods=tables.list_methods,
        width=WIDTH,
        distributions=draw_distributions(scan, summaries),
        trends=draw_trends(context, runs, plotted),
        ranked_by=sanitise_name(ranked_by),
        galleries=[
            (name, title, build_gallery(context.golden_uri, sides, scan, sign, shown_metrics, judged))
            for name, title, sign in (
                ("worse", "Got worse the most" if context.baseline else "Lowest", -1),
                ("better", "Got better the most" if context.baseline else "Highest", 1),
            )
        ],
        failures=examples.build_failures(context.candidate, scan.lost),
        rejects_uri=f"{context.golden_uri}/rejects.html",
        rejects_link=context.links.to_file(f"golden/{context.golden.id}/rejects.html"),
        details=tables.flatten_details(context.scores.details),
        judge=tables.flatten_details(context.judge),
        seconds=list_seconds(context),
        versions={sanitise_name(package): sanitise_name(version)
                  for package, version in (context.golden.versions | context.captions.versions).items()},
    )  # fmt: skip


def _list_criteria(summaries: Mapping[str, Summary], ranked_by: str) -> list[str]:
    """The yes-or-no metrics that may say why the ranking metric changed."""
    return [
        metric
        for metric, summary in summaries.items()
        if summary.unit == YES_OR_NO and summary.direction and metric not in (ranked_by, "exact_match")
    ][:MAX_CRITERIA]


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
    reaches = find_reaches(context.comparisons, summaries)
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
            rows = tables.build_comparison_rows(of_group, summaries, reaches)
            if advisory:  # worse first, and last what has no clear change
                rows.sort(key=lambda row: (not row.change, row.change))
            groups.append((title, kind, rows))
    return [group for group in groups if group[2]]


def _has_values(summaries: Mapping[str, Summary], metric: str) -> bool:
    return metric in summaries and summaries[metric].n > 0
