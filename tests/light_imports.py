"""Driver of test_rooms.py: import the modules named by the arguments in turn; print as JSON what each one loaded.

The object has an entry for each module: the top-level names of all that appeared in `sys.modules`, and for the
repository's own modules their full names.
"""

import importlib
import json
import sys

OWN = "ray_jobs"


def import_and_list(module: str) -> list[str]:
    """What importing this module loads that was not loaded before."""
    before = set(sys.modules)
    importlib.import_module(module)
    loaded_modules = set(sys.modules) - before
    return sorted({name if name.split(".")[0] == OWN else name.split(".")[0] for name in loaded_modules})


if __name__ == "__main__":
    print(json.dumps({module: import_and_list(module) for module in sys.argv[1:]}))
