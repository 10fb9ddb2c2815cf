"""Build `report.html`: the verdict with its evidence, on one page without references to other files or hosts."""
