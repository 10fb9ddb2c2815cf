"""Prints the URI of each run of the suite `small` below a root, then those of the named packages that are loaded.

python print_records.py ROOT PACKAGE...
"""

import sys

from ray_jobs import api

root, *packages = sys.argv[1:]
for line in api.list_records(root, "small"):
    print(api.load_record(line.run_uri).run_uri)
print([name for name in packages if name in sys.modules])
