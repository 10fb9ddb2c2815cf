"""What a task process of Airflow costs before the code of its task runs, in seconds of a core.

    .assay/control/bin/python -m benchmarks.task_start            # this checkout
    .assay/control/bin/python -m benchmarks.task_start TREE       # another checkout, without a build

Imports what Airflow's scheduler imports, and loads the plugins as the scheduler does. Then it forks, as the executor
and the task's supervisor do, and does in the fork what Airflow does there: it loads the plugins, parses the DAG file,
and, for a root on S3, makes the S3 client. Starts no server.
"""

import argparse
import os
import resource
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

REPO = Path(__file__).parents[1]
S3 = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.task_start", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("tree", nargs="?", type=Path, default=REPO)
    tree = parser.parse_args().tree.resolve()
    sys.path[:0] = [str(tree), str(tree / "plugins")]
    os.environ |= S3 | {
        "AIRFLOW_HOME": tempfile.mkdtemp(),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(tree / "plugins"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(tree / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "ASSAY_ROOT": "s3://bucket/root",
    }
    for name in ("jobs.scheduler_job_runner", "executors.local_executor", "sdk.execution_time.supervisor"):
        import_module(f"airflow.{name}")
    import_module("airflow.listeners.listener").get_listener_manager()
    sys.stdout.flush()
    if pid := os.fork():
        os.waitpid(pid, 0)
        return
    measure("load the plugins", import_module("airflow.sdk.listener").get_listener_manager)
    measure("parse the DAG file", lambda: parse_dag(tree))
    measure("make the S3 client", lambda: import_module("ray_jobs.storage.s3_client").get_client())
    sys.stdout.flush()
    os._exit(0)


def parse_dag(tree: Path) -> None:
    """Parse the DAG file. Raises AssertionError if it does not import."""
    dagbag = import_module("airflow.dag_processing.dagbag")
    file = str(tree / "dags" / "validate_checkpoint.py")
    bag = dagbag.BundleDagBag(dag_folder=file, safe_mode=False, load_op_links=False, bundle_path=tree / "dags",
                              bundle_name="dags-folder")  # fmt: skip
    assert not bag.import_errors, bag.import_errors


def measure(name: str, step: Callable[[], object]) -> None:
    """Print the seconds of a core that the step takes, and how many modules it imports."""
    modules, before = len(sys.modules), resource.getrusage(resource.RUSAGE_SELF)
    step()
    after = resource.getrusage(resource.RUSAGE_SELF)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{name:20} {1000 * seconds:5.0f} ms  {len(sys.modules) - modules:4} modules")


if __name__ == "__main__":
    main()
