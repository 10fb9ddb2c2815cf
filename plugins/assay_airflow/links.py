"""The buttons on tasks that lead to Assay's pages. `assay_airflow.ui` serves the pages.

The URLs are relative. A browser resolves them against the base of Airflow's own page, so they hold below the prefix of
a reverse proxy too.
"""

from typing import Any
from urllib.parse import urlencode

from airflow.sdk import BaseOperatorLink


def build_explorer_url(dag_id: str, run_id: str) -> str:
    """The page that shows every image of a run with both captions, worst first."""
    return f"assay/?{urlencode({'page': 'explorer', 'dag': dag_id, 'dag_run': run_id})}"


def build_run_url(dag_id: str, run_id: str) -> str:
    """The page of a run."""
    return f"assay/?{urlencode({'page': 'run', 'dag': dag_id, 'dag_run': run_id})}"


def build_report_url(run_uri: str) -> str:
    """The report of the run in this folder of storage."""
    return f"assay/api/report?{urlencode({'run': '/'.join(run_uri.rsplit('/', 2)[-2:])}, safe='/')}"


class ExplorerLink(BaseOperatorLink):
    """The run's images."""

    name = "Explorer"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        return build_explorer_url(ti_key.dag_id, ti_key.run_id)


class ReportLink(BaseOperatorLink):
    """The run's report. There is no button until the task has set `run_uri`, because the report may not exist yet."""

    name = "Report"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        return build_report_url(operator.run_uri) if operator.run_uri else ""
