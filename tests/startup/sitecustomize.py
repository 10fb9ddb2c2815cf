"""Python runs this when a process of the tests starts: dev/test.sh and ray_cluster.py put the folder into PYTHONPATH.

Hundreds of these processes import Ray, vLLM or Airflow. Those imports make a million objects that stay, and the garbage
collector walks them again and again: 7.7 s of a core to import vLLM with Python's own threshold, 6.2 s with this one.

A test of stored files of an earlier release may also name that release's stage versions: see tests/stage_versions.py.
"""

import gc
import os

gc.set_threshold(200_000, 50, 100)

for setting in os.environ.get("STAGE_VERSIONS_OF_TESTS", "").split():
    from ray_jobs.contract import spec  # only in such a test: it takes a quarter of a second

    name, _, number = setting.partition("=")
    setattr(spec, name, int(number))
