"""Prints the help page of each command, then those of the named packages that this has loaded.

python print_help_pages.py COMMANDS PACKAGE...      COMMANDS: [[word...]...] as JSON
"""

import json
import sys

from ray_jobs.cli import main

commands, *packages = sys.argv[1:]
for command in json.loads(commands):
    assert main([*command, "--help"]) == 0, command
print("loaded", [name for name in packages if name in sys.modules])
