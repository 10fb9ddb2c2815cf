"""`report.html`: the verdict with its evidence, one page without references to other files or hosts."""
