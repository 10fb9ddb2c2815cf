"""Refuse a run whose conf has a key that its DAG does not read.

Airflow validates the params that a DAG declares and keeps every other key silently. So a run with a mistyped key would
use the default. Every task of our DAGs calls this module before it does anything else.
"""

from collections.abc import Iterable
from typing import Any

from airflow.sdk import Context

from ray_jobs.inputs.errors import InputError, suggest
from ray_jobs.inputs.names import printable

PARAMS = {  # what each DAG declares
    "validate_checkpoint": ("checkpoint", "suite", "baseline", "force", "appear_minutes", "following"),
    "checkpoint_router": ("checkpoints", "suite", "occasion", "after"),
    "audit_engine": ("checkpoint", "suite"),
    "late_verdicts": ("suite",),
    "decide_run": ("run",),
}


def check_params(names: Iterable[Any], dag_id: str) -> None:
    """Raise InputError for a name that is no param of the DAG. The message suggests the nearest param."""
    known = list(PARAMS[dag_id])
    for name in names:
        if name not in known:
            raise InputError(f"unknown param '{printable(str(name), 60)}'{suggest(str(name), known)}")


def check_conf(context: Context) -> None:
    """Check the conf of a run; Airflow calls this before it executes a task. Raises InputError."""
    conf = getattr(context["dag_run"], "conf", None) or {}
    check_params(conf, context["dag"].dag_id)
