"""Corpora of voices and faces: who is in them, which files they own, and the lists they are scored on."""
