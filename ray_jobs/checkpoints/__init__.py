"""Checkpoints in storage: whole or not, which one it is, adapters, and copies on a node."""
