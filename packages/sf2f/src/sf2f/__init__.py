"""Face images generated from voices (Bai, Ma, Wang and Zhang, "Speech Fusion to Face", ACM MM 2022).

Example:
    import sf2f

    model = sf2f.load()                      # bundled weights; or a run folder, a checkpoint, a published .pt
    result = model.generate("a.wav")         # or several recordings of one identity: ["a.wav", "b.m4a"]
    result.image, result.embedding           # (H, W, 3) uint8 and (D,) float32

`sf2f --help` lists the commands; `sf2f.export.export_onnx` writes an ONNX model.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sf2f.inference import GeneratedFace
    from sf2f.models import Sf2fModel, load

__version__ = "0.2.0"
__all__ = ["GeneratedFace", "Sf2fModel", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """Import the modules that need PyTorch on first use."""
    if name == "GeneratedFace":
        from sf2f.inference import GeneratedFace

        return GeneratedFace
    if name in ("Sf2fModel", "load"):
        from sf2f import models

        return getattr(models, name)
    raise AttributeError(f"module 'sf2f' has no attribute {name!r}")
