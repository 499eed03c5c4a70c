"""Record of this system: commands, demo and plug-in are built from it."""

from voiceface.association.system import SystemSpec
from voiceface.suite.plugins import AssociationSystem

__all__ = ["PLUGIN", "SPEC"]

SPEC = SystemSpec(
    name="cmpc2",
    description="common space, learnt from videos without identity labels",
    subtitle="Cross-modal prototype contrast: matching, verification and retrieval on unseen identities.",
    config="cmpc2.config:Cmpc2Config",
    build_model="cmpc2.model:build_model_for_checkpoint",
    read_published="cmpc2.published:read_with_config",
    train="cmpc2.train:train",
    embedder="cmpc2.embedder:Embedder",
    training_set="cmpc2.training_data:pairs_from_corpus",
    graphs="cmpc2.onnx_export:build_graphs",
    onnx_embedder="cmpc2.onnx_embedder:OnnxEmbedder",
    training_description="training on videos of {identities} identities, without identity labels",
)
PLUGIN = AssociationSystem.from_spec(SPEC)
"""Plug-in of `voiceface demo` and `voiceface report`."""
