"""Record of this system: commands, demo and plug-in are built from it."""

from voiceface.association.system import SystemSpec
from voiceface.suite.plugins import AssociationSystem

__all__ = ["PLUGIN", "SPEC"]

SPEC = SystemSpec(
    name="fop",
    description="fusion and orthogonal projection over frozen encoders of real people",
    subtitle="Voice-face association on frozen encoders: matching, verification and retrieval.",
    config="fop.config:FopConfig",
    build_model="fop.model:build_model_for_checkpoint",
    read_published="fop.published:read_with_config",
    train="fop.train:train",
    embedder="fop.embedder:FopEmbedder",
    training_set="fop.training_data:encode_training_set",
    validation_set="fop.system_data:encode_validation_set",
    graphs="fop.onnx_export:build_graphs",
    onnx_embedder="fop.onnx_embedder:OnnxEmbedder",
    training_description="training on features of {identities} identities",
    requirements="fop.system_data:require_real_networks",
)
PLUGIN = AssociationSystem.from_spec(SPEC)
"""Plug-in of `voiceface demo` and `voiceface report`."""
