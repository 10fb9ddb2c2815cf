"""Choose the metrics by which two published runs can be compared: those that measure the same thing in both.

The program `compare` and `ray_jobs.api` call this module.
"""

from ray_jobs.comparison.published_run import PublishedRun
from ray_jobs.contract.metric_names import METRICS
from ray_jobs.contract.spec import Spec
from ray_jobs.inputs.errors import InputError
from ray_jobs.metrics import Metric
from ray_jobs.metrics.registry import build_metrics
from ray_jobs.planning.suite_files import is_code_of_the_deployment


def find_comparable_metrics(baseline: PublishedRun, candidate: PublishedRun) -> tuple[list[str], dict[str, str]]:
    """(comparable metrics, the reason for each metric that is left out).

    Raises InputError when no metric is comparable.
    """
    comparable, left_out = [], {}
    known = load_known_metrics(candidate.spec)
    for metric, summary in candidate.scores.metrics.items():
        before = baseline.scores.metrics.get(metric)
        if metric not in known:
            is_own = metric in candidate.spec.own_metrics
            left_out[metric] = "its code is not below ASSAY_SUITES" if is_own else "this version does not know it"
        elif before is None:
            left_out[metric] = "only one run has it"
        elif not before.n or not summary.n:
            left_out[metric] = "no values"
        elif why := _find_difference(metric, baseline, candidate):
            left_out[metric] = why
        else:
            comparable.append(metric)
    only_baseline = [metric for metric in baseline.scores.metrics if metric not in candidate.scores.metrics]
    left_out |= dict.fromkeys(only_baseline, "only one run has it")
    if not comparable:
        why = ", ".join(dict.fromkeys(left_out.values())) or "there are none"
        raise InputError(
            f"{baseline.uri} and {candidate.uri}: no metric of the one means the same in the other ({why}); "
            "validate both with one suite and one version"
        )
    return comparable, left_out


def load_known_metrics(spec: Spec) -> dict[str, Metric]:
    """The run's metrics by name. Leaves out a metric whose code is not among this deployment's suites, because code
    from a stored spec must not run."""
    trusted = {name: code for name, code in spec.own_metrics.items() if is_code_of_the_deployment(spec, name)}
    return build_metrics(spec.model_copy(update={"own_metrics": trusted}))


def _find_difference(metric: str, baseline: PublishedRun, candidate: PublishedRun) -> str | None:
    """Why a metric that both runs have does not measure the same in both; None when it does."""
    if metric == "preference":
        return "it is against each run's own baseline"
    if baseline.record.scoring_id == candidate.record.scoring_id:
        return None
    if any(run.spec.scoring_id != run.record.scoring_id for run in (baseline, candidate)):
        return "measured by another version"  # its code may measure something else by the same settings
    old, new = baseline.spec, candidate.spec
    if metric == "judge" or metric.startswith("judge_"):
        return None if old.judge_id == new.judge_id else "another judge"
    if metric in ("clipscore", "refclipscore"):
        old_clip, new_clip = (spec.clip.fingerprint if spec.clip else None for spec in (old, new))
        return None if old_clip == new_clip else "another CLIP model"
    if metric.startswith("label_hit"):
        return None if old.synonyms == new.synonyms else "other synonyms"
    if metric == "language":
        return None if old.suite.metrics.language == new.suite.metrics.language else "another language asked for"
    if metric not in METRICS and old.own_metrics.get(metric) != new.own_metrics.get(metric):
        return "another metric of that name"
    return None
