"""Agreement of generated faces with the synthetic ground truth."""
