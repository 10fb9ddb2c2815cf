"""The parts of `ray_jobs.plan`: find and load a suite, check the files that it names, find its earlier series."""
