"""Read the cells of a row: image, label, references, truth."""
