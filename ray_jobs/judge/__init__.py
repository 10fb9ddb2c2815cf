"""The judge: its questions, its stored answers, and the two ways to ask the judge: an endpoint or our own engine."""
