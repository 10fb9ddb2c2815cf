"""Files of rows that name or describe images."""
