"""Mesh files: OBJ, PLY, XYZ and the formats that trimesh reads."""
