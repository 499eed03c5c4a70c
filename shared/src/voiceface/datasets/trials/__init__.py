"""Trial lists: reading, sampling, coverage."""
