"""From two runs' scores to a verdict: pure functions over arrays, no Ray."""
