"""The `voiceface` commands, one module each."""
