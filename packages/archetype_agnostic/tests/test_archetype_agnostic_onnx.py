"""Encoders as ONNX files."""

from voiceface.testing.contracts.onnx_export import OnnxExportContract


class TestOnnx(OnnxExportContract):
    """Exported encoders give what PyTorch gives."""
