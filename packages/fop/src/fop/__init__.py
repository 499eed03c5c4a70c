"""FOP (Saeed et al., ICASSP 2022): voice-face association on frozen voice and face encoders.

`fop --help` lists the commands.
"""

__version__ = "0.2.0"
__all__ = ["__version__"]
