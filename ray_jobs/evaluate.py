"""Score the captions, compare them with the baseline's, and say PASS, FAIL, INCONCLUSIVE or INCOMPLETE.

    python -m ray_jobs.evaluate --spec URI

The judge answers about every caption, every image gets its row of scores, the scores are summed up, gated and reported;
the first two are resumed where a kill left them. A new judge or metric runs over kept captions, the baseline's too.
The seconds that `scores.json` tells are those of the process that came to the verdict.
"""

import logging
import sys
import time

from ray_jobs import job, parts, records, stored
from ray_jobs.contract import Spec, Trouble
from ray_jobs.gating import gate
from ray_jobs.judging import judge_all, prefer, reopen
from ray_jobs.report import write_report
from ray_jobs.scoring import check, score, summed_up

log = logging.getLogger("assay")


def evaluate(spec: Spec) -> None:
    """Make the scores and the verdict of the spec complete."""
    captions = parts.require(spec.captions_uri, "caption")
    if spec.force:
        parts.forget(spec.scores_uri, spec.force, keep=("forced-",))
        parts.forget(spec.run_uri, spec.force, keep=("spec", "record.json", "forced-"))
    if records.decided(spec.run_uri):
        log.info("run %s has its verdict", spec.run_uri)
        return
    check(spec)
    reopen(spec)  # after the check: a fault in the settings leaves the verdict that is there
    compared = [one.caption_id for one in (spec.baseline, spec.anchor) if one]
    caption_ids = list(dict.fromkeys([spec.caption_id, *compared]))
    times = [time.monotonic()]
    if spec.suite.judge.kind != "none":
        judge_all(spec, caption_ids)
        prefer(spec)
    times.append(time.monotonic())
    made = {caption_id: score(spec, caption_id) for caption_id in caption_ids}
    scores = summed_up(spec, made[spec.caption_id])
    times.append(time.monotonic())
    verdict = gate(spec, scores)
    times.append(time.monotonic())
    if parts.manifest(spec.captions_uri) != captions:
        raise Trouble(f"captions {spec.captions_uri}: made anew while they were evaluated; evaluate them again")
    took = {what: round(times[at + 1] - times[at], 3) for at, what in enumerate(("judge", "score", "gate"))}
    scores = scores.model_copy(update={"manifest": scores.manifest.model_copy(update={"seconds": took})})
    stored.replace(f"{spec.run_uri}/scores.json", scores)
    write_report(spec, scores, verdict)
    stored.replace(f"{spec.run_uri}/verdict.json", verdict)
    log.info("verdict: %s: %s", verdict.outcome, verdict.reason)


if __name__ == "__main__":
    sys.exit(job.run("evaluate", evaluate))
