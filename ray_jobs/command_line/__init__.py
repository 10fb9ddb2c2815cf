"""The commands of `assay`: their options and their help pages, one file per topic.

A command imports its program only when it runs. So `--help` loads neither Ray nor PyArrow, and it works in Airflow's
environment too.
"""
