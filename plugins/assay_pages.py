"""Register Assay's pages with Airflow.

Airflow runs this file as a plugin in each of its components, and once more in each task. So it loads neither FastAPI
nor DuckDB; `.airflowignore` beside it keeps Airflow from running the modules of `assay_airflow` as plugins too.
"""

from assay_airflow.ui.plugin import AssayPages

__all__ = ["AssayPages"]
