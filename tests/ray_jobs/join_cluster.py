"""Connects to Ray as two stages of `assay run` do, one after the other, and prints the cluster's nodes."""

import logging

import ray

from ray_jobs.job.frame import connect

logging.basicConfig(level=logging.INFO)
connect()
connect()
print(ray.nodes())
