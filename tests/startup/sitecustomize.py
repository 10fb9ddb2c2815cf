"""Python runs this when a process of the tests starts: dev/test.sh and ray_cluster.py put the folder into PYTHONPATH.

Hundreds of these processes import Ray, vLLM or Airflow. Those imports make a million objects that stay, and the garbage
collector walks them again and again: 7.7 s of a core to import vLLM with Python's own threshold, 6.2 s with this one.
"""

import gc

gc.set_threshold(200_000, 50, 100)
