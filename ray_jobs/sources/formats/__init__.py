"""One module per format of a data set, and what several formats have in common."""
