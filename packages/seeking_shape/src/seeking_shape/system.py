"""Record of this system: commands, demo and plug-in are built from it."""

from voiceface.association.system import SystemSpec
from voiceface.suite.plugins import AssociationSystem

__all__ = ["PLUGIN", "SPEC"]

SPEC = SystemSpec(
    name="seeking_shape",
    description="common space, trained with adaptive identity weights",
    subtitle="Adaptive voice-face association: matching, verification and retrieval on unseen identities.",
    config="seeking_shape.config:SeekingShapeConfig",
    build_model="seeking_shape.model:build_model_for_checkpoint",
    read_published="seeking_shape.published:read_with_config",
    train="seeking_shape.train:train",
    training_steps="seeking_shape.train:build_training_steps",
    identity_weights="center.weight",
    computed_keys=("V.model.torchfb.*",),  # constants, computed with the model
)
PLUGIN = AssociationSystem.from_spec(SPEC)
"""Plug-in of `voiceface demo` and `voiceface report`."""
