"""Attribute readers: networks that read attributes from face images."""
