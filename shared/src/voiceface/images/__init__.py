"""Images: decoding and transforms."""
