"""Try a checkpoint's own files in a confined process, before a GPU is asked for."""
