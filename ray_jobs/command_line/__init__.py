"""The commands of `assay`: their options and their help, one file a topic.

A command names the program that it starts, and the program is imported when the command runs. So `--help` loads neither
Ray nor PyArrow, and works in Airflow's environment too.
"""
