"""Synthetic population: identities with speech, face images, 3-D heads and coupled factors.

See docs/population.md.
"""
