"""Strict readers of outside input, each with bounds, and the two kinds of failure."""
