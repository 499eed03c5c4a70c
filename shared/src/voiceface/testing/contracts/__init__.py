"""Contracts of association systems: pytest classes that the tests of every system subclass.

This package imports pytest, and only tests import it: pytest is no dependency of voiceface. A system
describes itself in `conftest.py`

    from voiceface.testing.contracts.fixtures import *
    from voiceface.testing.contracts.subject import SystemUnderTest

    @pytest.fixture(scope="session")
    def system() -> SystemUnderTest:
        return SystemUnderTest("nearest_mean", config="quick", overrides=OVERRIDES, ...)

and subclasses the contracts in a test file:

    from voiceface.testing.contracts.association_system import AssociationSystemContract

    class TestNearestMean(AssociationSystemContract):
        pass

Contracts use the command line and the function that loads an embedder, nothing else of a system.
"""

import pytest

MODULES = (
    *("augmentation", "checkpoints", "commands", "configuration", "corpora"),
    *("embedders", "evaluation", "galleries", "own_pictures", "own_recordings", "published"),
    *("resume", "training"),
)
pytest.register_assert_rewrite(*(f"{__name__}.{module}" for module in MODULES))
