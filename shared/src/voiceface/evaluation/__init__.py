"""Evaluation: protocol, results, comparisons between systems."""
