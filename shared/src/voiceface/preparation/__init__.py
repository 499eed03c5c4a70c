"""A data set from people's own videos: `voiceface prepare` (docs/data.md)."""
