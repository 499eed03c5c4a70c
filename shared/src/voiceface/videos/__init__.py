"""People's own videos: frames, shots, tracks of faces, and who speaks (docs/own_files.md)."""
