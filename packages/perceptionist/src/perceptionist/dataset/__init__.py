"""Training data: records, published layouts, the synthetic population."""
