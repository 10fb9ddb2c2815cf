"""The models of a suite's sections, one file each. `contract.suite` puts them together."""
