"""Compare any two kept runs on one golden set, image by image: no GPU, no Ray, nothing measured anew.

    python -m ray_jobs.compare RUN RUN [--output compare.html]

RUN is the URI of a run or of its record.json; the first is the baseline. Prints a table and writes the page that a
verdict has, though it gives none: every difference is advisory, with its 95% interval.
"""

import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ray_jobs.contract.artifacts import Comparison, Record, Scores
from ray_jobs.contract.spec import Spec
from ray_jobs.contract.suite import METRICS
from ray_jobs.gate.non_inferiority import compared
from ray_jobs.gate.paired_differences import Paired
from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.inputs.names import printable
from ray_jobs.metrics import Metric
from ray_jobs.metrics.registry import declared
from ray_jobs.planning.suite_files import is_code_of_the_deployment
from ray_jobs.report import tables, trend
from ray_jobs.report.numbers import NONE
from ray_jobs.report.page import About, Headline, page
from ray_jobs.report.rank_images import Side
from ray_jobs.storage import json_files, objects, parts, records
from ray_jobs.storage.odd_items import describe
from ray_jobs.storage.pairing import find_rows, read_floats, take_rows


@dataclass(frozen=True)
class Kept:
    """A run as it is kept; `spec` says where, whatever the root was called when it was made."""

    uri: str
    spec: Spec
    record: Record
    scores: Scores

    @property
    def scores_uri(self) -> str:
        return f"{self.spec.root}/scores/{self.scores.manifest.id}"


def load(uri: str) -> Kept:
    """The run at a URI. Raises InputError when there is none, or not all of it."""
    uri = objects.absolute(uri.removesuffix("/record.json"))
    try:
        return _load(uri)
    except (InputError, RetryableError):
        raise
    except Exception as error:  # whatever somebody put there
        raise InputError(f"run {printable(uri)}: not a run ({describe(error)}); validate it again") from None


def _load(uri: str) -> Kept:
    try:
        record = records.read(uri)
        spec = json_files.load(Spec, next(iter(records.list_specs(uri)), f"{uri}/spec.json"))
        scores = json_files.load(Scores, f"{records.results_uri(uri, record.verdict)}/scores.json")
    except FileNotFoundError as error:
        missing = str(error.filename or uri).removeprefix(f"{uri}/")
        raise InputError(f"run {uri}: no {missing} there; name a published run's folder or its record.json") from None
    except ValueError as error:
        what = error.__class__.__name__
        raise InputError(f"run {uri}: not a run of this version ({what}); validate it again") from None
    if not re.fullmatch("[0-9A-Za-z_-]+", scores.manifest.id) or record.run_id != scores.run_id:
        raise InputError(f"run {uri}: its scores are of another run; evaluate and publish it again")
    return Kept(uri, spec.model_copy(update={"root": uri.rsplit("/runs/", 1)[0]}), record, scores)


def comparable(baseline: Kept, candidate: Kept) -> tuple[list[str], dict[str, str]]:
    """(metrics that mean the same in both runs, why each other one of the candidate's does not).

    Raises InputError when there is no metric of the first kind.
    """
    same, left_out = [], {}
    known = _known(candidate.spec)
    for metric, summary in candidate.scores.metrics.items():
        other = baseline.scores.metrics.get(metric)
        if metric not in known:
            own = metric in candidate.spec.own_metrics
            left_out[metric] = "its code is not below ASSAY_SUITES" if own else "this version does not know it"
        elif other is None:
            left_out[metric] = "only one run has it"
        elif not other.n or not summary.n:
            left_out[metric] = "no values"
        elif why := _means_another_thing(metric, baseline, candidate):
            left_out[metric] = why
        else:
            same.append(metric)
    others = [metric for metric in baseline.scores.metrics if metric not in candidate.scores.metrics]
    left_out |= dict.fromkeys(others, "only one run has it")
    if not same:
        why = ", ".join(dict.fromkeys(left_out.values())) or "there are none"
        raise InputError(
            f"{baseline.uri} and {candidate.uri}: no metric of the one means the same in the other ({why}); "
            "validate both with one suite and one version"
        )
    return same, left_out


def _known(spec: Spec) -> dict[str, Metric]:
    """The run's metrics, without those whose code this deployment's suites do not hold: a spec is no place for code."""
    own = {name: code for name, code in spec.own_metrics.items() if is_code_of_the_deployment(spec, name)}
    return declared(spec.model_copy(update={"own_metrics": own}))


def compare(baseline: Kept, candidate: Kept, metrics: Sequence[str]) -> list[Comparison]:
    """Candidate minus baseline on each metric over the images that both have. Raises InputError for two golden sets."""
    if baseline.record.golden_id != candidate.record.golden_id:
        raise InputError(
            f"{baseline.uri} and {candidate.uri}: not over one golden set ({baseline.record.golden_id} and "
            f"{candidate.record.golden_id}), so no image can be compared; validate both with one suite"
        )
    known = _known(candidate.spec)
    same = baseline.record.caption_id == candidate.record.caption_id
    pairs = {metric: Paired(known[metric], same=same) for metric in metrics}
    for old, new in _paired(baseline, candidate, metrics):
        for metric, one in pairs.items():
            one.add(old[metric], new[metric])
    return [compared(known[metric], one, advisory=True) for metric, one in pairs.items()]


def report(baseline: Kept, candidate: Kept, comparisons: Sequence[Comparison], left_out: dict[str, str]) -> str:
    """The page, as HTML."""
    spec, names = candidate.spec, [_name(baseline, candidate), _name(candidate, baseline)]
    moved = [(row.metric, row.word) for row in tables.compared(comparisons, candidate.scores.metrics)]
    told = [f"{metric} {word[2:]}" for metric, word in moved if word[0] in "▲▼"]
    sentence = f"{names[1]} against {names[0]}: " + (", ".join(told) or "no clear difference")
    notes = [f"Left out: {', '.join(f'{metric} ({why})' for metric, why in left_out.items())}."] if left_out else []
    record, scores = candidate.record, candidate.scores
    about = About(
        spec=spec,
        scores=scores,
        headline=Headline(f"{names[1]} against {names[0]}", "COMPARISON", "plain", sentence),
        golden=parts.require(f"{spec.root}/golden/{record.golden_id}", "preprocess"),
        captions=parts.require(spec.captions_uri_of(record.caption_id), "caption"),
        candidate=_side(names[1], candidate),
        own=trend.run(record.checkpoint, record.scale_id, record.verdict.outcome, scores.metrics),
        baseline=_side(names[0], baseline),
        compared_with={"baseline": baseline.record.checkpoint},
        comparisons=comparisons,
        metrics=[one.metric for one in comparisons],
        notes=notes,
    )
    return page(about)


def printed(comparisons: Sequence[Comparison], candidate: Kept) -> str:
    """The comparisons as a table of aligned text."""
    rows = tables.compared(comparisons, candidate.scores.metrics)
    header = ["metric", "", "baseline", "candidate", "difference", "95% interval", "images"]
    lines = [header]
    for row in rows:
        interval = row.below.get("difference", NONE).split("\n")[0]
        cells = [row.cells[column] for column in ("baseline", "candidate", "difference")]
        lines.append([row.metric, row.word, *cells, interval, row.cells["images"]])
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    text = [
        "  ".join(cell.ljust(width) if place < 2 else cell.rjust(width)
                  for place, (cell, width) in enumerate(zip(line, widths, strict=True))).rstrip()
        for line in lines
    ]  # fmt: skip
    return "\n".join(text)


def _paired(
    baseline: Kept, candidate: Kept, metrics: Sequence[str]
) -> Iterator[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """Each part's values of both runs, in the order of the candidate's images, NaN where the baseline lacks one."""
    columns = ["image_id", *metrics]
    for part in candidate.scores.manifest.parts:
        new, old = (_columns(kept, part.name, columns) for kept in (candidate, baseline))
        rows = find_rows(new["image_id"].to_pylist(), old["image_id"].to_pylist())
        before = {metric: take_rows(read_floats(old, metric), rows) for metric in metrics}
        yield before, {metric: read_floats(new, metric) for metric in metrics}


def _columns(kept: Kept, name: str, columns: list[str]) -> pa.Table:
    try:
        return parts.read(kept.scores_uri, name, columns, made=kept.scores.manifest)
    except (InputError, RetryableError):
        raise
    except Exception as error:  # no such part, not a Parquet file, without these columns
        raise InputError(
            f"run {kept.uri}: scores, part {printable(name)}: not readable ({describe(error)}); evaluate it again"
        ) from None


def _means_another_thing(metric: str, baseline: Kept, candidate: Kept) -> str | None:
    """Why a metric that both runs have is not the same measurement in both; None when it is."""
    if metric == "preference":
        return "it is against each run's own baseline"
    if baseline.record.scale_id == candidate.record.scale_id:
        return None
    if any(kept.spec.scale_id != kept.record.scale_id for kept in (baseline, candidate)):
        return "measured by another version"  # whose code may mean another thing by the same settings
    one, other = baseline.spec, candidate.spec
    if metric == "judge" or metric.startswith("judge_"):
        return None if one.judge_id == other.judge_id else "another judge"
    if metric in ("clipscore", "refclipscore"):
        clips = [spec.clip.fingerprint if spec.clip else None for spec in (one, other)]
        return None if clips[0] == clips[1] else "another CLIP model"
    if metric.startswith("label_hit"):
        return None if one.synonyms == other.synonyms else "other synonyms"
    if metric == "language":
        return None if one.suite.metrics.language == other.suite.metrics.language else "another language asked for"
    if metric not in METRICS and one.own_metrics.get(metric) != other.own_metrics.get(metric):
        return "another metric of that name"
    return None


def _side(name: str, kept: Kept) -> Side:
    scores = kept.scores  # both may have been made anew since
    uri = kept.spec.captions_uri_of(kept.record.caption_id)
    return Side(name, uri, kept.scores_uri, scores.captions, scores.manifest)


def _name(kept: Kept, other: Kept) -> str:
    """The checkpoint's name, and what tells the two runs apart where that does not."""
    name = kept.record.checkpoint.name
    if name != other.record.checkpoint.name:
        return name
    by_weights = kept.record.checkpoint.fingerprint != other.record.checkpoint.fingerprint
    return f"{name} {kept.record.checkpoint.fingerprint[:8] if by_weights else f'run {kept.record.run_id}'}"


def main(baseline_uri: str, candidate_uri: str, output: str, as_json: bool = False) -> int:
    """Compare the runs at the URIs, print the table and write the page; 0. Raises InputError and RetryableError."""
    baseline, candidate = load(baseline_uri), load(candidate_uri)
    metrics, left_out = comparable(baseline, candidate)
    comparisons = compare(baseline, candidate, metrics)
    if not as_json:
        print(printed(comparisons, candidate))
        for metric, why in left_out.items():
            print(f"left out: {printable(metric)}: {why}")
    objects.write(output, report(baseline, candidate, comparisons, left_out).encode())
    if as_json:
        compared = [comparison.model_dump(mode="json") for comparison in comparisons]
        runs = {"baseline": baseline.uri, "candidate": candidate.uri}
        print(json.dumps({**runs, "comparisons": compared, "left_out": left_out, "page": output}, indent=1))
    else:
        print(f"page: {output}")
    return 0


if __name__ == "__main__":
    from ray_jobs.command_line.programs import run_program

    sys.exit(run_program("compare"))
