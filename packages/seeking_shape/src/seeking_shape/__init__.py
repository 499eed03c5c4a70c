"""Adaptive voice-face association (Wen et al., CVPR 2021)."""

__version__ = "0.1.0"
