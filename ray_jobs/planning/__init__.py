"""What `ray_jobs.plan` decides: the suite, the predecessor of its series, the files that it names."""
