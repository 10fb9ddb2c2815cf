"""The frame around every job on the Ray cluster."""
