"""Data folders packed into shards: tar archives of WebDataset's form with an index beside each."""
