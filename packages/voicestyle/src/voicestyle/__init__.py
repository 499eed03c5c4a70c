"""StyleGAN2 faces guided by a voice (VoiceStyle, ACM TOMM 2024)."""

__version__ = "0.1.0"
__all__ = ["__version__"]
