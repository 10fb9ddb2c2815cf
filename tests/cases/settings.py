# ruff: noqa: E501 (a case is a line of a table)
"""The cases about names, settings of a run and a cluster: 28, 30 and 32 of the review."""

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml
from pictures import images
from running import GOOD, REPOSITORY, STUCK, Bench, Case, last_line

CONTROL = REPOSITORY / ".assay" / "control" / "bin" / "python"


def in_airflow(bench: Bench, folder: Path, program: str, **variables: str) -> tuple[int, str]:
    """The exit code and the output of a program in the control plane's environment, over the tree's DAGs, with a database of its own."""
    home = folder / "airflow"
    environment = {**os.environ, **variables, "PYTHONPATH": f"{bench.tree}:{bench.tree}/plugins"} | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(bench.tree / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "ASSAY_ROOT": str(folder / "root"),
    }
    home.mkdir(exist_ok=True)
    try:
        done = subprocess.run(
            [CONTROL, "-c", program], env=environment, cwd=bench.tree, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=STUCK, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as stuck:
        return -9, (stuck.stdout or b"").decode(errors="replace")
    return done.returncode, done.stdout


RUN = """
import logging, sys
from airflow.utils.db import initdb
initdb()
from airflow.dag_processing.dagbag import DagBag
dag = DagBag("dags").dags["{dag}"]
dag.test(run_conf={conf}, mark_success_pattern="wait_for.*")
"""


def mistyped(dag: str, **conf: str) -> Any:
    """What a run of the DAG says of its conf, in a process of its own with Airflow's own task runner."""

    def build(bench: Bench, folder: Path) -> str:
        code, output = in_airflow(bench, folder, RUN.format(dag=dag, conf=conf))
        told = [line for line in output.splitlines() if "did you mean" in line]
        return told[0][told[0].find("unknown") :] if told else f"exit {code}: {last_line(output)}"

    return build


def two_names(bench: Bench, folder: Path) -> str:
    """A suite whose file and `name` differ, asked for by the file's name."""
    suites = folder / "suites"
    suites.mkdir()
    images(folder / "images", 2)
    (suites / "nightly.yaml").write_text(yaml.safe_dump({"name": "t", "dataset": {"source": str(folder / "images")}}))
    code, line = bench.call(
        "ray_jobs.plan", "--suite", "nightly", "--checkpoint", str(GOOD), "--root", str(folder / "root"),
        ASSAY_SUITES=str(suites),
    )  # fmt: skip
    return f"plan, exit {code}: {line}" if code else f"planned as {json.loads(Path(line).read_text())['suite']['name']}"


def stale_address(bench: Bench, folder: Path) -> str:
    """A job by hand, where a Ray head that was killed left its address."""
    images(folder / "images", 2)
    suite = {"dataset": {"source": str(folder / "images")}, "preprocess": {"max_pixels": 12544}}
    spec, line = bench.plan(folder, GOOD, suite)
    if spec is None:
        return line
    with tempfile.TemporaryDirectory(prefix="ray-") as home:  # sockets below it must have short names
        (Path(home) / "ray").mkdir()
        (Path(home) / "ray" / "ray_current_cluster").write_text("127.0.0.1:48713")
        alone = Bench(bench.tree)
        unset = {name: "" for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN") if name in os.environ}
        code, line = alone.call("ray_jobs.preprocess", "--spec", spec, seconds=90, RAY_TMPDIR=home, **unset)
    return f"exit {code}: {line}"


CASES = [
    Case("28", "kind of 23", "suite file `nightly.yaml` with `name: t`", r"exit 2: .*nightly.*name|exit 2: .*name.*nightly", "validated again every night (silently wrong)", two_names),
    Case("30a", "apache/airflow#29018", "conf `{\"checkpoint\": \"/c\", \"sute\": \"nightly\"}`", r"sute.*did you mean.*suite", "accepted: suite demo (silently wrong)", mistyped("validate_checkpoint", checkpoint="/c", sute="nightly")),
    Case("30b", "the same", "`{\"checkpoint\": …}` to checkpoint_router", r"checkpoint.*did you mean.*checkpoints", "goes over all of ASSAY_CHECKPOINTS (silently wrong)", mistyped("checkpoint_router", checkpoint="/c")),
    Case("32", "own", "a stale `ray_current_cluster`, a job by hand", r"exit 0|exit [12]: .*48713", "still waiting after 8 min, nothing on the screen", stale_address),
]  # fmt: skip
