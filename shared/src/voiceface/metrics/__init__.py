"""Metrics of voice-face association, their uncertainty, embedding tables and evaluation protocols."""
