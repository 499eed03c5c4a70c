"""Engines: the same work on units of items, in this process or by the actors of a Ray cluster."""
