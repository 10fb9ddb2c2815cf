"""CLIP: the model, its stage on Ray, and its metrics."""
