"""Prepare a golden set: decode every image of the sample, upright, in sRGB, on the patch grid, or reject it.

    python -m ray_jobs.preprocess --spec URI

The job plans the sample into parts. Ray Data builds the missing parts. Each rejected image has a reason. A complete
golden set stays as it is.
"""

if __name__ == "__main__":
    from ray_jobs.fork_server.entrypoint import run_forked

    run_forked()  # does not return if a fork server runs this program; before the imports, which take seconds

import sys
import time
from functools import partial
from itertools import pairwise

from ray_jobs.contract.spec import Spec
from ray_jobs.engine.client.early_engines import prepare_captions_engine
from ray_jobs.golden import previews
from ray_jobs.golden.build_set import build_parts, reject_duplicates
from ray_jobs.golden.commit_set import commit_set, note_content
from ray_jobs.golden.duplicates import open_duplicates
from ray_jobs.golden.former_cells import check_texts_as_read_now
from ray_jobs.golden.part_plan import check_revision, plan_with_distance
from ray_jobs.golden.set_checks import check_complete_set, check_rejects, check_texts
from ray_jobs.golden.source_process import run_in_source_process
from ray_jobs.job import frame
from ray_jobs.sources.open_source import open_source
from ray_jobs.storage import manifests

PHASES = ("list", "prepare", "finish")


def preprocess(spec: Spec) -> None:
    """Complete the golden set of the spec."""
    if manifest := manifests.load_manifest(spec.golden_uri):
        check_complete_set(spec, manifest)
    else:
        build_golden_set(spec)
    note_content(spec)


def build_golden_set(spec: Spec) -> None:
    """Plan the golden set, build its parts, check it, and commit its manifest."""
    frame.join_cluster(spec)
    times = [time.monotonic()]
    source = open_source(spec.suite.dataset)
    dataset = f"dataset {spec.suite.dataset.source}"
    plan, distance = run_in_source_process(dataset, plan_with_distance, spec, source)
    times.append(time.monotonic())
    with open_duplicates() as duplicates:
        with prepare_captions_engine(spec) as engine:
            totals = build_parts(spec, source, distance, plan, duplicates, engine.start_if_few)
        times.append(time.monotonic())
        if spec.suite.preprocess.duplicates == "reject":
            reject_duplicates(spec, totals, duplicates)
    lost = totals.count_lost()
    previews.write_rejects(spec.golden_uri, spec.suite.dataset.source, totals.list_parts(), lost)
    check_rejects(spec, lost, plan.rows)
    check_texts(spec, totals)
    check_revision(spec)  # the source may have changed while it was read
    previews.write_preview(spec.golden_uri, totals.list_parts())
    times.append(time.monotonic())
    seconds = {phase: round(end - start, 3) for phase, (start, end) in zip(PHASES, pairwise(times), strict=True)}
    manifest = commit_set(spec, plan, totals, seconds)
    check_texts_as_read_now(spec.golden_uri, manifest, spec.suite.dataset)  # an earlier version may have begun the set


main = partial(frame.run, "preprocess", preprocess)  # main(spec_uri) runs the stage and returns the exit code


if __name__ == "__main__":
    from ray_jobs.command_line import stages
    from ray_jobs.command_line.frame import run_command

    sys.exit(run_command(stages.preprocess))
