"""A data set seen by the names and sizes of its files: which files belong to it, and its revision."""
