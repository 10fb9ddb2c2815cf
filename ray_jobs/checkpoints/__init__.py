"""Checkpoints in storage: completeness checks, fingerprints, LoRA adapters, and copies on a node."""
