"""The judge at work: what it is asked, what it answered, and the two ways to ask it."""
