"""What a package offers to `voiceface demo` and `voiceface report`, and which packages do.

A package names one record under the entry-point group `voiceface.systems`:

    [project.entry-points."voiceface.systems"]
    sf2f = "sf2f.suite_plugin:PLUGIN"

The record is an `AssociationSystem`, a `ImageSystem` or a `MeshSystem`. Its module must be light to import:
what needs PyTorch is imported inside `load` and `train`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from voiceface.association.loading import load_embedder
from voiceface.association.system import SystemSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from voiceface.association.embedder import Embedder

__all__ = [
    "ENTRY_POINT_GROUP",
    "KNOWN_SYSTEMS",
    "AssociationSystem",
    "ImageGenerator",
    "ImageSystem",
    "LoadedGenerator",
    "MeshGenerator",
    "MeshSystem",
    "System",
    "SystemSet",
    "find_systems",
]

ENTRY_POINT_GROUP = "voiceface.systems"
KNOWN_SYSTEMS = ("seeking_shape", "archetype_agnostic", "cmpc2", "sf2f", "voicestyle", "perceptionist")
"""Systems of this repository in the order of the page; others that are installed come after them."""


class LoadedGenerator(Protocol):
    """Attributes of every loaded generator.

    Attributes:
        source: where its weights come from, for the page.
        notice: what must be said beside everything it makes, or empty.
        names: identities it was trained on; empty where not known.
    """

    @property
    def source(self) -> str: ...
    @property
    def disclaimer(self) -> str: ...
    @property
    def identity_names(self) -> Sequence[str]: ...


class ImageGenerator(LoadedGenerator, Protocol):
    """A loaded model that generates images from voices."""

    def generate_image(self, utterances: Sequence[Path]) -> "NDArray[np.uint8]":
        """One image (H, W, 3) RGB of the identity who speaks in these recordings.

        Raises:
            ValueError, OSError: they cannot be used (no speech, unreadable); says which and why.
        """
        ...


class MeshGenerator(LoadedGenerator, Protocol):
    """A loaded model that generates meshes from voices.

    Attributes:
        triangles: (T, 3) vertex numbers from 0, wound outwards; the same for every mesh.
        landmarks: (68,) vertex numbers of the iBUG landmarks; None where the mesh has none.
    """

    @property
    def triangles(self) -> "NDArray[np.integer[Any]]": ...
    @property
    def landmarks(self) -> "NDArray[np.integer[Any]] | None": ...

    def generate_vertices(self, utterance: Path) -> "NDArray[np.float32]":
        """Frontal mesh (V, 3) of the speaker: x right, y up, z towards the viewer, any unit.

        Raises:
            ValueError, OSError: the recording cannot be used; says why.
        """
        ...


@dataclass(frozen=True)
class AssociationSystem:
    """A system that puts voices and faces into one space.

    Attributes:
        name: of the package.
        description: what it does, a few words, such as "common space with identity weights".
        load: (weights or None for the bundled ones, device=...) -> `Embedder`. Weights: a file or run folder.
        train: (population folder, folder for runs, device=...) -> run folder of the finished model. Trains by
            the system's quick configuration on the training identities; does nothing where that is done
            already, and resumes exactly where it was stopped. None: the bundled checkpoints are shown in its
            place.
    """

    name: str
    description: str
    load: "Callable[..., Embedder]"
    train: Callable[..., Path] | None = None

    @classmethod
    def from_spec(cls, spec: SystemSpec) -> "AssociationSystem":
        """Build the record from a system's specification; corrupt utterances are used as far as they go."""

        def train(population: Path, out: Path, *, device: str = "cpu") -> Path:
            from voiceface.association.demo import build_training_steps, run_training_steps

            steps, runs = build_training_steps(spec, out, population, device=device)
            run_training_steps(population, steps)
            return list(runs.values())[-1]

        load = partial(load_embedder, spec, on_corrupt="salvage")
        return cls(spec.name, spec.description, load, train)


@dataclass(frozen=True)
class ImageSystem:
    """A system that makes an image of a face from a voice.

    Attributes:
        name: of the package.
        description: what it does, a few words.
        load: (weights or None for the bundled ones, device=..., bank=...) -> `ImageGenerator`. `bank`: files
            of face images that a maker may start from, as far as known not of who is heard; makers that need
            none leave it alone.
        is_fast: it makes an image in a fraction of a second, so that a hundred identities can be evaluated.
    """

    name: str
    description: str
    load: Callable[..., ImageGenerator]
    is_fast: bool = True


@dataclass(frozen=True)
class MeshSystem:
    """A system that makes a 3-D face from a voice.

    Attributes:
        name: of the package.
        description: what it does, a few words.
        load: (weights or None for the bundled ones, device=...) -> `MeshGenerator`.
    """

    name: str
    description: str
    load: Callable[..., MeshGenerator]


System: TypeAlias = AssociationSystem | ImageSystem | MeshSystem


@dataclass(frozen=True)
class SystemSet:
    """The systems that can be shown, and why others cannot.

    Attributes:
        found: in the order of the page.
        unavailable: name -> what is missing and what to do.
    """

    found: tuple[System, ...]
    unavailable: dict[str, str]

    @property
    def association_systems(self) -> list[AssociationSystem]:
        """Systems that rank faces."""
        return [system for system in self.found if isinstance(system, AssociationSystem)]

    @property
    def image_systems(self) -> list[ImageSystem]:
        """Systems that make images."""
        return [system for system in self.found if isinstance(system, ImageSystem)]

    @property
    def mesh_systems(self) -> list[MeshSystem]:
        """Systems that make meshes."""
        return [system for system in self.found if isinstance(system, MeshSystem)]

    def select(self, names: Sequence[str]) -> "SystemSet":
        """Those that are asked for.

        Raises:
            ValueError: one of them is not there; the message says why.
        """
        there = {system.name for system in self.found}
        for name in names:
            if name not in there:
                raise ValueError(
                    f"no system {name!r}: {self.unavailable.get(name, 'unknown')}; there are "
                    f"{', '.join(sorted(there)) or 'none'}"
                )
        return SystemSet(tuple(system for system in self.found if system.name in names), {})


def find_systems(entries: Iterable[metadata.EntryPoint] | None = None) -> SystemSet:
    """Systems that are installed.

    Args:
        entries: entry points to take; None: those of the group in this environment.

    Raises:
        TypeError: an entry point gives something else than a record of this module.
    """
    named = {
        entry.name: entry
        for entry in (metadata.entry_points(group=ENTRY_POINT_GROUP) if entries is None else entries)
    }
    found: list[System] = []
    absent: dict[str, str] = {}
    for name in (*KNOWN_SYSTEMS, *sorted(set(named) - set(KNOWN_SYSTEMS))):
        if name not in named:
            absent[name] = _why_unavailable(name)
            continue
        try:
            system = named[name].load()
        except (ImportError, AttributeError) as error:
            absent[name] = f"cannot be loaded ({error}); install it again: pip install ./packages/{name}"
            continue
        if not isinstance(system, AssociationSystem | ImageSystem | MeshSystem):
            raise TypeError(
                f"entry point {name} of {ENTRY_POINT_GROUP} gives {type(system).__name__}, expected an "
                "Association, "
                "PictureSystem or MeshSystem of voiceface.suite.plugins"
            )
        found.append(system)
    return SystemSet(tuple(found), absent)


def _why_unavailable(name: str) -> str:
    """What is missing of a system without an entry point."""
    if util.find_spec(name) is None:
        return f"not installed: pip install ./packages/{name}"
    return "installed, but this version has nothing to show here"
