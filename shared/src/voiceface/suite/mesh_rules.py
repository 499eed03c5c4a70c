"""How mesh systems describe their meshes, for programs that do it without them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["MeshRuleSource", "MeshRules"]


@dataclass(frozen=True, eq=False)
class MeshRules:
    """How a `MeshRuleSource` describes a mesh, for programs that do it elsewhere.

    Attributes:
        references: (V, 3) reference meshes by name: the mean heads first, then the face types.
        genders: names of the two mean heads.
        pairs: vertices between which each width is measured, by name.
        gender_direction: (S,), shape coefficients along it above 0 belong to the first mean head; None: the
            nearer one is the reference.
    """

    references: "dict[str, NDArray[np.floating[Any]]]"
    genders: tuple[str, ...]
    pairs: dict[str, tuple[int, ...]]
    gender_direction: "NDArray[np.float64] | None"


@runtime_checkable
class MeshRuleSource(Protocol):
    """A `voiceface.suite.plugins.DescribingMeshGenerator` that states how it describes meshes."""

    def description_rules(self) -> MeshRules:
        """What meshes are compared with."""
        ...
