"""What the voice-face systems of this repository share."""

__version__ = "0.2.0"
