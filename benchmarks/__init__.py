"""One script a claim: each prints the table that the README quotes, with what it compares in one run."""
