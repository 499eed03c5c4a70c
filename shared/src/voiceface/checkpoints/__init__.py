"""Checkpoints: our own format, published files, third-party files."""
