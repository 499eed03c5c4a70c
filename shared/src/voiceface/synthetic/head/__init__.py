"""Head of the population, made from MakeHuman's base mesh (CC0): bundle, linear model, measurements."""

from voiceface.synthetic.head.anthropometry import ANTHROPOMETRY, measure_distances
from voiceface.synthetic.head.bundle import HeadBundle, load_head_bundle
from voiceface.synthetic.head.subdivision import load_subdivided_head

__all__ = [
    "ANTHROPOMETRY",
    "HeadBundle",
    "load_head_bundle",
    "load_subdivided_head",
    "measure_distances",
]
