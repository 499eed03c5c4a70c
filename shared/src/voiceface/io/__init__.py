"""Files: atomic writing, input files, safe unpickling."""
