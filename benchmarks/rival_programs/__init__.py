"""Programs that `benchmarks.rivals` runs in the environments of other engines. They import nothing of Assay."""
