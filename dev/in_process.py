"""Run a DAG in this process, deferrable tasks too, and exit with 0 when it reached a verdict.

    python -m dev.in_process validate_checkpoint '{"checkpoint": ..., "suite": ...}'

Use it to debug: breakpoints work, and no scheduler is needed. `dev.stack validate` sets the environment and runs it.
"""

import json
import sys

from airflow.dag_processing.dagbag import DagBag

from dev.settings import REPO


def main(dag_id: str, conf: str) -> int:
    bag = DagBag(str(REPO / "dags"))
    if bag.import_errors:
        print("\n".join(bag.import_errors.values()), file=sys.stderr)
        return 1
    run = bag.dags[dag_id].test(run_conf=json.loads(conf))
    states = {task.task_id: task.state for task in run.get_task_instances()}
    for task in bag.dags[dag_id].tasks:
        print(f"{task.task_id:20} {states.get(task.task_id)}")
    return 0 if states.get("publish") == "success" else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
