"""Import what a task uses when the scheduler starts. Each task process is a fork of it and imports nothing again.

Airflow runs this file as a plugin in each of its components, and once more in each task, where it finds the modules
loaded. `.airflowignore` beside it keeps Airflow from running the modules of `assay_airflow` as plugins too.
"""

import os
import warnings
from importlib import import_module

from assay_airflow.hooks import ray

from ray_jobs.storage import s3_client, uris

MODULES = (
    "airflow.dag_processing.bundles.local",
    "airflow.dag_processing.dagbag",
    "airflow.providers.standard.decorators.python",
    "airflow.providers.standard.operators.empty",
    "airflow.sdk.bases.sensor",
    "airflow.sdk.definitions.asset.metadata",
    "airflow.sdk.definitions.decorators.task_group",
    "airflow.sdk.execution_time.cache",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.timeout",
    "assay_airflow.notices.late",
    "assay_airflow.notices.notifier",
    "assay_airflow.operators.continue_pass",
    "assay_airflow.operators.decide",
    "assay_airflow.operators.planned_spec",
    "assay_airflow.operators.ray_job",
    "assay_airflow.operators.trigger_validation",
    "assay_airflow.operators.verdict",
    "assay_airflow.run_conf",
    "assay_airflow.sensors.checkpoint_whole",
    "assay_airflow.sensors.golden_ready",
    "assay_airflow.sensors.ray_ready",
    "assay_airflow.suite_choices",
    "assay_airflow.tasks",
    "assay_airflow.triggers.checkpoint_prefix",
    "jinja2.ext",
)

# Airflow's own reader of `.airflowignore` uses an old name of a library, and would say so in the log of each task.
warnings.filterwarnings("ignore", message="GitWildMatchPattern", category=DeprecationWarning)
for name in MODULES:
    import_module(name)
ray.read_certificates()
if uris.is_s3(os.environ.get("ASSAY_ROOT", "")):
    s3_client.read_descriptions()
