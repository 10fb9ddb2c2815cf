"""The engine that captions and judges: one folder per process."""
