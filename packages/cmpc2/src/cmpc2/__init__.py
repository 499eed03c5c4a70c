"""Unsupervised voice-face embedding by cross-modal prototype contrast (CMPC, IJCAI 2022)."""

__version__ = "0.1.0"
__all__ = ["__version__"]
