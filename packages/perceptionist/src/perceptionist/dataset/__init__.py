"""Data sets of voices and faces: records, the published layout, the synthetic population."""
