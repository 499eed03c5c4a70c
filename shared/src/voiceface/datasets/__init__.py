"""Corpora of voices and faces: identities and their files, trial lists, validation, training pairs."""
