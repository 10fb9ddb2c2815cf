"""List what a source holds: bounds, skipped files, tables on disk."""
