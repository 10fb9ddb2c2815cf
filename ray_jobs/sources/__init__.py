"""List and read the images of a data set, with one module per format in `formats/`."""
