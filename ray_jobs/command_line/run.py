"""The command that validates one checkpoint from start to end, without Airflow."""

import click

from ray_jobs.command_line.frame import json_option, list_exit_codes, start_program
from ray_jobs.command_line.stages import baseline_option, root_option, suite_option

VERDICTS = {"PASS": 0, "FAIL": 3, "INCONCLUSIVE": 4, "INCOMPLETE": 5}  # exit codes


@click.command(epilog=list_exit_codes(*VERDICTS))
@click.argument("checkpoint", metavar="CHECKPOINT")
@suite_option
@root_option
@baseline_option
@click.option("--force", is_flag=True, help="Caption and score again, although the results are complete.")
@json_option
def run(checkpoint: str, suite: str, root: str, baseline: str | None, force: bool, as_json: bool) -> int:
    """Validate a checkpoint: all stages, and the verdict.

    Runs plan, preprocess, caption, evaluate and publish, one after the other. CHECKPOINT is the URI of a Hugging Face
    model directory or of a LoRA adapter. Prints the progress of each stage, and the verdict at the end. Needs no
    Airflow. Joins the Ray cluster that RAY_ADDRESS names or that runs on this machine; else it starts one. Running it
    again is free: finished stages are reused, and an interrupted stage continues where it stopped.

    \b
    Example:
      assay run demo/checkpoints/step-0800 --suite demo
    """
    return start_program(
        "run", checkpoint_uri=checkpoint, suite_name=suite, root=root, baseline=baseline, force=force, as_json=as_json
    )
