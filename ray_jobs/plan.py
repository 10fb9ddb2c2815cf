"""Resolve a request into a spec: the checkpoint, the images, the baseline and the places of all results.

    python -m ray_jobs.plan --suite demo --checkpoint demo/checkpoints/step-0800

The command prints the URI of the spec. Every job takes this URI: `python -m ray_jobs.preprocess --spec URI`. The
Airflow DAG calls `plan` in a task. To plan a request twice gives the same spec, so finished stages are found again.
"""

import json
import logging
import sys

from ray_jobs.checkpoints import inspect
from ray_jobs.checkpoints.former_fingerprints import find_former_fingerprint
from ray_jobs.checkpoints.special_tokens import check_prompts
from ray_jobs.contract.sections.judge import Judge
from ray_jobs.contract.share_doubts import find_share_doubts
from ray_jobs.contract.spec import Checkpoint, Spec
from ray_jobs.contract.unused_settings import find_doubts
from ray_jobs.dataset.revision import source_revision
from ray_jobs.dataset.same_content import find_same_content
from ray_jobs.planning import predecessor
from ray_jobs.planning.suites import load_suite, load_synonyms, read_custom_metrics
from ray_jobs.storage import baselines, json_files, uris
from ray_jobs.storage.store_probe import require_conditional_create

log = logging.getLogger("assay")


def plan(
    root: str,
    suite_name: str,
    checkpoint_uri: str,
    baseline: str | None = None,
    force: str | None = None,
    next_checkpoint: str | None = None,
    by_hand: bool = False,
) -> Spec:
    """Resolve the request and write its spec into the run's folder. Returns the spec.

    `baseline` overrides the suite's. `force` names a request that captions and scores everything again.
    `next_checkpoint` is the URI of the checkpoint that is validated next. `suite_name` is a suite's name; with
    `by_hand`, for a person at a shell, it may be a file too. Raises InputError, NewerSchema when a newer Assay planned
    this run, and `Incomplete` for an incomplete checkpoint.
    """
    suite = load_suite(suite_name, by_hand)
    requested = baseline or suite.gate.baseline  # part of the spec: the same words make the same run
    suite = suite.model_copy(update={"gate": suite.gate.model_copy(update={"baseline": requested})})
    root = uris.make_absolute(root)  # before the checkpoint is read, which may take minutes
    checkpoint = inspect.resolve(checkpoint_uri, suite.engine.base_model)
    spec = Spec(
        root=root,
        suite=suite,
        checkpoint=checkpoint.model_copy(update=find_former_fingerprint(root, checkpoint)),
        judge=_resolve_judge(suite.judge),
        clip=inspect.resolve(suite.metrics.clip) if suite.metrics.clip else None,
        own_metrics=read_custom_metrics(suite.metrics.own),
        synonyms=load_synonyms(suite.metrics.synonyms) if suite.metrics.synonyms else {},
        source_revision=source_revision(suite.dataset),
        force=force,
        next_checkpoint=uris.make_absolute(next_checkpoint) if next_checkpoint else None,
    )
    spec = spec.model_copy(update=find_same_content(spec, source_revision))
    check_prompts(suite, spec.checkpoint, spec.judge)
    for doubt in [*find_doubts(suite), *find_share_doubts(suite)]:
        log.warning("suite %s: %s", suite.name, doubt)
    entries = None if requested == "none" else baselines.list_series(spec)  # listed once for both
    spec = spec.model_copy(update={"baseline": baselines.find_baseline(spec, requested, entries)})
    spec = spec.model_copy(update={"anchor": baselines.find_anchor(spec, suite.gate.anchor, entries)})
    spec = spec.model_copy(update={"predecessor": predecessor.find_predecessor(spec, requested)})
    require_conditional_create(spec.root)
    json_files.replace(spec.uri, spec)
    return spec


def _resolve_judge(judge: Judge) -> Checkpoint | None:
    if judge.kind != "vllm" or not judge.model:
        return None
    return inspect.resolve(judge.model, judge.engine.base_model)


def main(suite_name: str, checkpoint_uri: str, root: str, baseline: str | None = None, as_json: bool = False) -> int:
    """Plan the request of a person at a shell and print the URI of its spec. Returns 0. Raises the errors of `plan`."""
    spec = plan(root, suite_name, checkpoint_uri, baseline, by_hand=True)
    if as_json:
        ids = ("run_id", "golden_id", "caption_id", "series_id", "run_uri")
        print(json.dumps({"spec_uri": spec.uri, **{name: getattr(spec, name) for name in ids}}, indent=1))
    else:
        print(spec.uri)
    return 0


if __name__ == "__main__":
    from ray_jobs.command_line import stages
    from ray_jobs.command_line.frame import run_command

    sys.exit(run_command(stages.plan))
