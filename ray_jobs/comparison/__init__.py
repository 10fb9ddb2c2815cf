"""Compare two published runs on one golden set: load them, choose the metrics, pair the images, show the result."""
