"""The data plane: jobs that run on the Ray cluster.

`contract`, `storage`, `checkpoint`, `plan`, `records` and `publish` are light and run in Airflow's environment too.
"""
