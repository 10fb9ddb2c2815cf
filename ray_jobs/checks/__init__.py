"""What `ray_jobs.suite_check` looks at before a job runs: images, checkpoint, judge and gate."""
