"""`report.html`: the verdict with its evidence, one page that needs nothing from anywhere."""
