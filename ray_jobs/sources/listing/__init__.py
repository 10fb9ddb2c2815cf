"""Support the listing of a source: bounds, skipped files, tables on disk."""
