"""Try a checkpoint's own files in a confined process, before a job requests a GPU."""
