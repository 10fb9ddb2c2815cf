"""Where images come from, one module per format."""
