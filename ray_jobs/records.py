"""Show or rebuild the records of a root from the command line. `ray_jobs.storage.records` reads and writes them."""

import sys

if __name__ == "__main__":
    from ray_jobs.command_line import records
    from ray_jobs.command_line.frame import run_command

    sys.exit(run_command(records.records))
