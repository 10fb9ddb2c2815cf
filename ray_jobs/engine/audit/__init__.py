"""The audit's own engine, and the place where two captions of one image diverge."""
