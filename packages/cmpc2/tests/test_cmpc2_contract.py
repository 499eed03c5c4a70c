"""The contracts of all association systems."""

from voiceface.testing.contracts.association_system import AssociationSystemContract


class TestCmpc2(AssociationSystemContract):
    """Meets the contracts of all association systems."""
