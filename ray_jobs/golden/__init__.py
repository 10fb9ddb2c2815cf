"""Build a golden set: draw a sample of a source, split it into parts, prepare the images, reject duplicates."""
