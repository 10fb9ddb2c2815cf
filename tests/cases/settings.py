# ruff: noqa: E501 (a case is a line of a table)
"""The cases about names, settings of a run and a cluster: 28, 30 and 32 of the review."""

import json
import os
import subprocess
import tempfile
from pathlib import Path

import yaml
from case_runner import GOOD, REPOSITORY, TIMEOUT_S, Build, Case, CaseRunner, last_line
from pictures import images

CONTROL = REPOSITORY / ".assay" / "control" / "bin" / "python"


def run_dag(runner: CaseRunner, folder: Path, dag: str, conf: dict[str, str]) -> tuple[int, str]:
    """The exit code and the output of a run of the tree's DAG, in a process of the control plane with a fresh database."""
    home = folder / "airflow"
    environment = {**os.environ, "PYTHONPATH": f"{runner.tree}:{runner.tree}/plugins"} | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(runner.tree / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "ASSAY_ROOT": str(folder / "root"),
    }
    home.mkdir(exist_ok=True)
    command = [str(CONTROL), str(Path(__file__).with_name("run_dag.py")), dag, json.dumps(conf)]
    try:
        process = subprocess.run(
            command, env=environment, cwd=runner.tree, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as timeout:
        return -9, (timeout.stdout or b"").decode(errors="replace")
    return process.returncode, process.stdout


def run_mistyped(dag: str, **conf: str) -> Build:
    """The line in which a run of the DAG refuses its conf, or its last line."""

    def build(runner: CaseRunner, folder: Path) -> str:
        code, output = run_dag(runner, folder, dag, conf)
        lines = [line for line in output.splitlines() if "did you mean" in line]
        return lines[0][lines[0].find("unknown") :] if lines else f"exit {code}: {last_line(output)}"

    return build


def two_names(runner: CaseRunner, folder: Path) -> str:
    """A suite whose file and `name` differ, planned by the file's name."""
    suites = folder / "suites"
    suites.mkdir()
    images(folder / "images", 2)
    (suites / "nightly.yaml").write_text(yaml.safe_dump({"name": "t", "dataset": {"source": str(folder / "images")}}))
    code, line = runner.call(
        "ray_jobs.plan", "--suite", "nightly", "--checkpoint", str(GOOD), "--root", str(folder / "root"),
        ASSAY_SUITES=str(suites),
    )  # fmt: skip
    return f"plan, exit {code}: {line}" if code else f"planned as {json.loads(Path(line).read_text())['suite']['name']}"


def stale_address(runner: CaseRunner, folder: Path) -> str:
    """A job by hand on a machine where a killed Ray head left its address."""
    images(folder / "images", 2)
    suite = {"dataset": {"source": str(folder / "images")}, "preprocess": {"max_pixels": 12544}}
    spec, line = runner.plan(folder, GOOD, suite)
    if spec is None:
        return line
    with tempfile.TemporaryDirectory(prefix="ray-") as home:  # sockets below it must have short names
        (Path(home) / "ray").mkdir()
        (Path(home) / "ray" / "ray_current_cluster").write_text("127.0.0.1:48713")
        alone = CaseRunner(runner.tree)
        unset = {name: "" for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN") if name in os.environ}
        code, line = alone.call("ray_jobs.preprocess", "--spec", spec, seconds=90, RAY_TMPDIR=home, **unset)
    return f"exit {code}: {line}"


CASES = [
    Case("28", "kind of 23", "suite file `nightly.yaml` with `name: t`", r"exit 2: .*nightly.*name|exit 2: .*name.*nightly", "validated again every night (silently wrong)", two_names),
    Case("30a", "apache/airflow#29018", "conf `{\"checkpoint\": \"/c\", \"sute\": \"nightly\"}`", r"sute.*did you mean.*suite", "accepted: suite demo (silently wrong)", run_mistyped("validate_checkpoint", checkpoint="/c", sute="nightly")),
    Case("30b", "the same", "`{\"checkpoint\": …}` to checkpoint_router", r"checkpoint.*did you mean.*checkpoints", "goes over all of ASSAY_CHECKPOINTS (silently wrong)", run_mistyped("checkpoint_router", checkpoint="/c")),
    Case("32", "own", "a stale `ray_current_cluster`, a job by hand", r"exit 0|exit [12]: .*48713", "still waiting after 8 min, nothing on the screen", stale_address),
]  # fmt: skip
