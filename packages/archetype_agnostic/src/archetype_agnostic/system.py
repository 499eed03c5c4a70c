"""Record of this system: commands, demo and plug-in are built from it."""

from voiceface.association.system import SystemSpec
from voiceface.suite.plugins import AssociationSystem

__all__ = ["PLUGIN", "SPEC"]

SPEC = SystemSpec(
    name="archetype_agnostic",
    description="common space without class prototypes, with bilateral re-gauging",
    subtitle="Archetype-agnostic voice-face association: matching, verification and retrieval on unseen "
    "identities.",
    config="archetype_agnostic.config:ArchetypeAgnosticConfig",
    build_model="archetype_agnostic.model:build_model_for_checkpoint",
    read_published="archetype_agnostic.published:read_with_config",
    train="archetype_agnostic.train:train",
    identity_weights="eqm.weight",
    computed_keys=("aNet.model.torchfb.*",),  # constants, computed with the model
)
PLUGIN = AssociationSystem.from_spec(SPEC)
"""Plug-in of `voiceface demo` and `voiceface report`."""
