"""Networks as ONNX files: written from PyTorch, compared with it, and run by onnxruntime (docs/export.md)."""
