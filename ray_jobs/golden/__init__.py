"""The golden set: drawn from a source, cut into parts, prepared in processes of their own, free of duplicates."""
