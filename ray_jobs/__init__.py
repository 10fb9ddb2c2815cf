"""The data plane: jobs that run on the Ray cluster. `contract`, `storage`, `checkpoint` and `plan` also run in Airflow."""
