"""Check images, checkpoint, judge and gate before a job runs. `ray_jobs.suite_check` calls this."""
