"""Stands in for Ray's program of a worker, which `start_worker` gets as its first argument, as from Ray."""

import json
import os
import sys

print(json.dumps({"unforked": sys.argv[1:], "pid": os.getpid(), "options": sys.orig_argv[1 : -len(sys.argv)]}))
