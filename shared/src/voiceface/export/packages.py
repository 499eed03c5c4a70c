"""Optional packages behind ONNX files, and how to get them."""

import importlib.util

__all__ = ["EXTRA", "require_packages"]

EXTRA = "voiceface-shared[onnx]"


def require_packages(*names: str) -> None:
    """Check that packages are installed; nothing is imported.

    Args:
        names: "onnx" and "onnxruntime", if none is given.

    Raises:
        ModuleNotFoundError: one is missing; names the extra.
    """
    missing = [name for name in names or ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(f"ONNX files need {' and '.join(missing)}: pip install '{EXTRA}'")
