"""One module per format of a data set, and modules that several formats share."""
