"""What the cells of a row mean: image, label, references, truth."""
