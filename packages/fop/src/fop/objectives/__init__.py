"""Objectives of the head, one module each, chosen by `loss.objective`."""

from pkgutil import resolve_name
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fop.config import LossConfig
    from fop.model import FopModel
    from fop.objectives.objective import Objective

__all__ = ["OBJECTIVES", "build_objective", "find_objective"]

OBJECTIVES = {
    "angular_margin": "fop.objectives.angular_margin:AngularMarginObjective",
    "archetype_agnostic": "fop.objectives.archetype_agnostic:ArchetypeAgnosticObjective",
    "cmpc2": "fop.objectives.cmpc2:Cmpc2Objective",
    "fop": "fop.objectives.fop:FopObjective",
    "identity_space": "fop.objectives.identity_space:IdentitySpaceObjective",
    "infonce": "fop.objectives.infonce:InfoNceObjective",
    "seeking_shape": "fop.objectives.seeking_shape:SeekingShapeObjective",
    "xm_align": "fop.objectives.xm_align:XmAlignObjective",
}
"""Class of every objective: constructed with (LossConfig, FopModel, number of training identities)."""


def find_objective(name: str) -> "type[Objective]":
    """Import the class of an objective, a key of `OBJECTIVES`."""
    return resolve_name(OBJECTIVES[name])


def build_objective(config: "LossConfig", model: "FopModel", num_classes: int) -> "Objective":
    """Build the configured objective.

    Args:
        config: the section `loss`.
        model: the model that it trains.
        num_classes: training identities C.

    Raises:
        ValueError: the objective does not fit the model, or another package that it needs is not installed.
    """
    return find_objective(config.objective)(config, model, num_classes)  # type: ignore[call-arg]
