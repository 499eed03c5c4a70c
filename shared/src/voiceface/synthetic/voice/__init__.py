"""Synthetic speech: phonetics and synthesis."""
