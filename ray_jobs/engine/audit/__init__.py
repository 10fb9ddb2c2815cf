"""The audit's own engine, and where two captions of one image part."""
