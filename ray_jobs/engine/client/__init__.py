"""In the job's driver: find, start and lease engines, and stream rows through them."""
