"""Command lines: dispatch, shared arguments, console messages."""
