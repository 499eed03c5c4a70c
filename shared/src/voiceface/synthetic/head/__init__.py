"""Head of the population, made from MakeHuman's base mesh (CC0): bundle, linear model, measurements."""

from voiceface.synthetic.head.bundle import HeadBundle, load_head_bundle

__all__ = ["HeadBundle", "load_head_bundle"]
