"""One script per claim. Each prints the table that the README or a page quotes, with all that it compares."""
