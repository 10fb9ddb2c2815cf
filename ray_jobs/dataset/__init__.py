"""A data set known by its names and sizes alone: which files belong to it, and its revision."""
