"""The contracts of all association systems."""

from voiceface.testing.contracts.association_system import AssociationSystemContract


class TestSeekingShape(AssociationSystemContract):
    """Meets the contracts of all association systems."""
