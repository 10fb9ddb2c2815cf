"""One file for each section of a suite. `contract.suite` puts them together."""
