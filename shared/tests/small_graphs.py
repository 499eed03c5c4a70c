"""ONNX graphs of a few operators, written by tests."""

from voiceface.testing.onnx_graphs import GraphBuilder, speaker_weight, write_arcface, write_speaker

__all__ = ["GraphBuilder", "speaker_weight", "write_arcface", "write_speaker"]
