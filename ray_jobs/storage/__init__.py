"""Everything that Assay keeps: objects, JSON files, manifests, parts, records and their index."""
