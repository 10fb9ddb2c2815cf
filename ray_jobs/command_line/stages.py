"""The commands of the stages of a validation. `plan` writes the spec, and each other command reads it."""

import click

from ray_jobs.command_line.frame import Decorated, json_option, list_exit_codes, start_program

RAY = "Joins the Ray cluster that RAY_ADDRESS names or that runs on this machine; else it starts one."


def spec_option(function: Decorated) -> Decorated:
    return click.option("--spec", "spec_uri", required=True, metavar="URI", help="The spec that `assay plan` wrote.")(
        function
    )


def root_option(function: Decorated) -> Decorated:
    return click.option(
        "--root", default=".assay/root", show_default=True, envvar="ASSAY_ROOT", show_envvar=True, metavar="URI",
        help="Where results are kept: s3://bucket/prefix, or a directory that every node shares.",
    )(function)  # fmt: skip


def suite_option(function: Decorated) -> Decorated:
    return click.option(
        "--suite", required=True, metavar="SUITE", help="The name of a suite in dags/suites, or a YAML file."
    )(function)


def baseline_option(function: Decorated) -> Decorated:
    return click.option(
        "--baseline", metavar="WHICH",
        help="Compare with this instead of the suite's baseline: last-accepted, previous, none, or the URI of a "
        "checkpoint or run.",
    )(function)  # fmt: skip


@click.command(epilog=list_exit_codes("the spec is written"))
@suite_option
@click.option("--checkpoint", required=True, metavar="URI", help="A Hugging Face model directory, or a LoRA adapter.")
@root_option
@baseline_option
@json_option
def plan(suite: str, checkpoint: str, root: str, baseline: str | None, as_json: bool) -> int:
    """Write the spec of a run, and print its URI.

    The spec names the checkpoint, the images and the baseline of the run, and the place of its results. Every other
    stage reads it. Planning the same request twice gives the same spec, so finished results are found again. Needs no
    GPU and no Ray cluster.

    \b
    Example:
      spec=$(assay plan --suite demo --checkpoint demo/checkpoints/step-0800)
      for stage in preprocess caption evaluate publish; do assay $stage --spec "$spec"; done
    """
    return start_program(
        "plan", suite_name=suite, checkpoint_uri=checkpoint, root=root, baseline=baseline, as_json=as_json
    )


@click.command(epilog=f"{RAY}\n\n{list_exit_codes('the golden set is complete')}")
@spec_option
def preprocess(spec_uri: str) -> int:
    """Prepare the golden set, the images that are captioned.

    One golden set serves all checkpoints. Every image is decoded, turned upright, converted to sRGB and resized, or it
    is rejected with a reason. Results are in {root}/golden/{golden_id}/: parts, rejects.html, preview.png, and
    manifest.json, which is written last. A complete golden set stays as it is. An interrupted one is continued.

    \b
    Example:
      assay preprocess --spec "$spec"
    """
    return start_program("preprocess", spec_uri=spec_uri)


@click.command(epilog=f"{RAY}\n\n{list_exit_codes('every image has its caption, or the reason why it has none')}")
@spec_option
def caption(spec_uri: str) -> int:
    """Caption the golden set with the checkpoint, on vLLM.

    Every image gets one caption. Results are in {root}/captions/{caption_id}/. Finished parts are not captioned again.
    The engine stays warm for the next checkpoint for engine.keep_seconds of the suite. Set ASSAY_WORKER_LOGS=1 to see
    the engine's own log.

    \b
    Example:
      assay caption --spec "$spec"
    """
    return start_program("caption", spec_uri=spec_uri)


@click.command(epilog=f"{RAY}\n\n{list_exit_codes('the run has its verdict, whatever it is')}")
@spec_option
def evaluate(spec_uri: str) -> int:
    """Score the captions, and write the verdict and the report.

    The judge answers about every caption, and each image gets its scores. The gate compares the scores with the
    baseline's: PASS, FAIL, INCONCLUSIVE or INCOMPLETE. Results are scores.json, verdict.json and report.html in the
    run's folder. A question that the judge has answered is not asked again.

    \b
    Example:
      assay evaluate --spec "$spec"
    """
    return start_program("evaluate", spec_uri=spec_uri)


@click.command(epilog=list_exit_codes("the run is published, whatever its verdict"))
@spec_option
@json_option
def publish(spec_uri: str, as_json: bool) -> int:
    """Publish a run, and print its verdict.

    Writes the run's record, and its entry in the index of the suite. A published run can be the baseline of the next
    one. Reads small JSON files only; needs no GPU and no Ray cluster.

    \b
    Example:
      assay publish --spec "$spec"
      step-0800: PASS: no metric is worse than step-0300's by more than its margin
    """
    return start_program("publish", spec_uri=spec_uri, as_json=as_json)


@click.command(epilog=f"{RAY}\n\n{list_exit_codes('the captions are the same, or the suite has nothing to audit')}")
@spec_option
def audit(spec_uri: str) -> int:
    """Caption a sample again on a fresh engine, and compare.

    A warm engine loads the next checkpoint by swapping its weights. The audit relies on no check of that engine. The
    result is audit.json beside the captions. Captions that differ are bad input: the line names them.

    \b
    Example:
      assay audit --spec "$spec"
    """
    return start_program("audit", spec_uri=spec_uri)
