"""Read files of rows that name or describe images."""
