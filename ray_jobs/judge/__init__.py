"""The judge: its questions, its stored answers, and the two ways to ask it: an endpoint, or our own engine."""
