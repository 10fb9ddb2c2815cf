"""Turn the scores of two runs into a verdict, by pure functions over arrays. Nothing here uses Ray."""
