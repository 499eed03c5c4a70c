"""Mesh files: .obj, .ply, .xyz, and the formats that trimesh reads and writes."""
