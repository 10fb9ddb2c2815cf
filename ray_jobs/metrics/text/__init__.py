"""Split text into terms and n-grams, and count how often they occur in a whole set of captions."""
