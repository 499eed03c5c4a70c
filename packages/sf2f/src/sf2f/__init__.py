"""A face image from a voice (Bai, Ma, Wang, Zhang, "Speech Fusion to Face", ACM MM 2022)."""

__version__ = "0.1.0"
__all__ = ["__version__"]
