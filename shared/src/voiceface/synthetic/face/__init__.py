"""Synthetic faces: head model, appearance, rendering."""
