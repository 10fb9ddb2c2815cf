"""Show a comparison of two published runs: as a table of text for a terminal, and as the page that a verdict has.

The program `compare` calls this module.
"""

from collections.abc import Sequence

from ray_jobs.comparison.published_run import PublishedRun
from ray_jobs.contract.artifacts import Comparison
from ray_jobs.report import tables, trend
from ray_jobs.report.numbers import NONE
from ray_jobs.report.page import render_page
from ray_jobs.report.page_context import Headline, PageContext
from ray_jobs.report.rank_images import Side
from ray_jobs.storage import manifests


def build_page(
    baseline: PublishedRun, candidate: PublishedRun, comparisons: Sequence[Comparison], left_out: dict[str, str]
) -> str:
    """The page as HTML. `left_out` gives the reason for each metric that is not compared."""
    spec, record, scores = candidate.spec, candidate.record, candidate.scores
    old_name, new_name = _name_run(baseline, candidate), _name_run(candidate, baseline)
    moved = [(row.metric, row.word) for row in tables.build_comparison_rows(comparisons, scores.metrics)]
    clear = [f"{metric} {word[2:]}" for metric, word in moved if word[0] in "▲▼"]
    sentence = f"{new_name} against {old_name}: " + (", ".join(clear) or "no clear difference")
    notes = [f"Left out: {', '.join(f'{metric} ({why})' for metric, why in left_out.items())}."] if left_out else []
    about = PageContext(
        spec=spec,
        scores=scores,
        headline=Headline(f"{new_name} against {old_name}", "COMPARISON", "plain", sentence),
        golden=manifests.require_manifest(f"{spec.root}/golden/{record.golden_id}", "preprocess"),
        captions=manifests.require_manifest(spec.captions_uri_of(record.caption_id), "caption"),
        candidate=_side_of(new_name, candidate),
        current_run=trend.describe_run(record.checkpoint, record.scoring_id, record.verdict.outcome, scores.metrics),
        baseline=_side_of(old_name, baseline),
        compared_with={"baseline": baseline.record.checkpoint},
        comparisons=comparisons,
        metrics=[comparison.metric for comparison in comparisons],
        notes=notes,
    )
    return render_page(about)


def format_table(comparisons: Sequence[Comparison], candidate: PublishedRun) -> str:
    """The comparisons as a table of aligned text, one line per metric below a line of headings."""
    header = ["metric", "", "baseline", "candidate", "difference", "95% interval", "images"]
    lines = [header]
    for row in tables.build_comparison_rows(comparisons, candidate.scores.metrics):
        interval = row.below.get("difference", NONE).split("\n")[0]
        cells = [row.cells[column] for column in ("baseline", "candidate", "difference")]
        lines.append([row.metric, row.word, *cells, interval, row.cells["images"]])
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    text = [
        "  ".join(cell.ljust(width) if column < 2 else cell.rjust(width)
                  for column, (cell, width) in enumerate(zip(line, widths, strict=True))).rstrip()
        for line in lines
    ]  # fmt: skip
    return "\n".join(text)


def _side_of(name: str, run: PublishedRun) -> Side:
    uri = run.spec.captions_uri_of(run.record.caption_id)
    # The manifests of these scores, because both stages may have newer ones by now.
    return Side(name, uri, run.scores_uri, run.scores.captions, run.scores.manifest)


def _name_run(run: PublishedRun, other: PublishedRun) -> str:
    """The checkpoint's name; with the fingerprint or the run's id where both runs have that name."""
    name = run.record.checkpoint.name
    if name != other.record.checkpoint.name:
        return name
    by_weights = run.record.checkpoint.fingerprint != other.record.checkpoint.fingerprint
    return f"{name} {run.record.checkpoint.fingerprint[:8] if by_weights else f'run {run.record.run_id}'}"
