"""Figures of voice-face association, their uncertainty, embedding tables and evaluation protocols."""
