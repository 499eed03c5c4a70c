"""Datasets from AVSpeech's table and local videos."""
