"""Text as terms and n-grams, and how often they occur in a whole set of captions."""
