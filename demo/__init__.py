"""The demo's images and checkpoints, and the scripts that make them (see README.md)."""
