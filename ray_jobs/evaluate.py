"""Score the captions, compare them with the baseline's, and decide PASS, FAIL, INCONCLUSIVE or INCOMPLETE.

    python -m ray_jobs.evaluate --spec URI

The judge answers its questions about every caption. Every image gets a row of scores. The scores are summarised, gated
and reported. The first two steps resume after a kill. A new judge or metric runs over stored captions, also over the
baseline's. The seconds in `scores.json` are those of the process that reached the verdict. A forced request writes its
scores and results to its own folders, which then become the run's current ones (`results_folders.py`).
"""

if __name__ == "__main__":
    from ray_jobs.fork_server.entrypoint import run_forked

    run_forked()  # does not return if a fork server runs this program; before the imports, which take seconds

import logging
import sys
import time
from datetime import UTC, datetime
from functools import partial

from ray_jobs.contract.artifacts import Manifest, Verdict
from ray_jobs.contract.ids import digest
from ray_jobs.contract.spec import Spec
from ray_jobs.gate import results_folders
from ray_jobs.gate.run import run_gate
from ray_jobs.inputs.errors import RetryableError
from ray_jobs.job import frame
from ray_jobs.judge.preference import compute_preferences
from ray_jobs.judge.run import run_judge, start_new_attempt
from ray_jobs.metrics.run import check_settings, needs_ray, score_captions, summarise_scores
from ray_jobs.report.write_report import render_report
from ray_jobs.storage import json_files, manifests, objects, records

log = logging.getLogger("assay")


def evaluate(spec: Spec) -> None:
    """Complete the scores and the verdict of the spec."""
    if records.has_final_verdict(spec.request_uri):
        if spec.force:  # a killed job may not have made its results current
            results_folders.make_current(spec, json_files.load(Verdict, f"{spec.request_uri}/verdict.json"))
        log.info("run %s has its verdict", spec.run_uri)
        return
    check_settings(spec)
    json_files.check_replaceable(f"{spec.run_uri}/verdict.json")
    compared = [run.caption_id for run in (spec.baseline, spec.anchor) if run]
    caption_ids = list(dict.fromkeys([spec.caption_id, *compared]))
    captions = {
        caption_id: manifests.require_manifest(spec.captions_uri_of(caption_id), "caption")
        for caption_id in caption_ids
    }
    folder = results_folders.find_folder(spec, digest(*map(manifests.digest_parts, captions.values())))
    spec = spec.with_folders({}, folder)
    if not folder:
        start_new_attempt(spec)  # after the check, so that a fault in the settings leaves the old verdict in place
    if spec.suite.judge.kind == "vllm" or any(needs_ray(spec, manifest) for manifest in captions.values()):
        frame.join_cluster(spec)
    times = [time.monotonic()]
    if spec.suite.judge.kind != "none":
        run_judge(spec, caption_ids)
        compute_preferences(spec)
    times.append(time.monotonic())
    scored = {caption_id: score_captions(spec, caption_id) for caption_id in caption_ids}
    spec = spec.with_folders(
        {caption_id: manifests.stage_folder_of(manifest) for caption_id, manifest in scored.items()}
    )
    scores = summarise_scores(spec, scored[spec.caption_id])
    times.append(time.monotonic())
    verdict = run_gate(spec, scores)
    times.append(time.monotonic())
    seconds = {
        phase: round(times[index + 1] - times[index], 3) for index, phase in enumerate(("judge", "score", "gate"))
    }
    scores = scores.model_copy(
        update={
            "manifest": scores.manifest.model_copy(update={"seconds": seconds}),
            "captions": captions[spec.caption_id].model_copy(update={"parts": ()}),
        }
    )
    page = render_report(spec, scores, verdict)
    decided_at = datetime.now(UTC)
    _check_inputs_unchanged(spec, captions, scored)
    if not spec.force and records.has_final_verdict(spec.run_uri):
        log.info("run %s was forced meanwhile and has its verdict", spec.run_uri)
        return
    json_files.replace(f"{spec.results_uri}/scores.json", scores)
    objects.write(f"{spec.results_uri}/report.html", page.encode())
    if folder:
        verdict = verdict.model_copy(update={"folder": folder, "decided_at": decided_at})
    json_files.replace(f"{spec.results_uri}/verdict.json", verdict)
    if folder:
        results_folders.make_current(spec, verdict)
    log.info("verdict: %s: %s", verdict.outcome, verdict.reason)


def _check_inputs_unchanged(spec: Spec, captions: dict[str, Manifest], scored: dict[str, Manifest]) -> None:
    """Raises RetryableError when captions or scores were replaced while this job read them.

    No verdict rests on a mix of old and new ones.
    """
    for caption_id, manifest in captions.items():
        if manifests.load_manifest(spec.captions_uri_of(caption_id)) != manifest:
            raise RetryableError(
                f"captions {spec.captions_uri_of(caption_id)}: made anew while they were evaluated; evaluate them again"
            )
        uri = spec.scores_uri_of(caption_id)  # a forced request's own folder no longer changes, the stage's may
        if uri == spec.scores_stage_of(caption_id) and manifests.load_manifest(uri) != scored[caption_id]:
            raise RetryableError(f"scores {uri}: made anew while they were evaluated; evaluate them again")


main = partial(frame.run, "evaluate", evaluate)  # main(spec_uri) runs the stage and returns the exit code


if __name__ == "__main__":
    from ray_jobs.command_line import stages
    from ray_jobs.command_line.frame import run_command

    sys.exit(run_command(stages.evaluate))
