"""Validation of datasets before training."""
