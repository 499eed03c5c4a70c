"""Audio: decoding, voice activity, mel filter banks, acoustic front ends."""
