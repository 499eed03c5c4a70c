"""A 3-D face from a voice (Wu, Hsu, Neumann, "Cross-Modal Perceptionist", CVPR 2022).

`perceptionist --help` names the commands; `perceptionist.sim3dr` is the renderer.
"""

__version__ = "0.1.0"
__all__ = ["__version__"]
