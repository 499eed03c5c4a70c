"""Plugins for `voiceface demo` and `voiceface report`: records of systems, found by entry points.

A package names one record in the entry-point group `voiceface.systems`:

    [project.entry-points."voiceface.systems"]
    sf2f = "sf2f.suite_plugin:PLUGIN"

The record is an `AssociationSystem`, an `ImageSystem` or a `MeshSystem`. Its module imports PyTorch inside
`load` and `train` only, so that help texts stay fast.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

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
    "DescribedMesh",
    "DescribingMeshGenerator",
    "GenerationStep",
    "ImageGenerator",
    "ImageSystem",
    "LoadedGenerator",
    "MeshGenerator",
    "MeshSystem",
    "SteppingImageGenerator",
    "System",
    "SystemSet",
    "find_systems",
]

ENTRY_POINT_GROUP = "voiceface.systems"
KNOWN_SYSTEMS = ("seeking_shape", "archetype_agnostic", "cmpc2", "fop", "sf2f", "voicestyle", "perceptionist")
"""Systems of this repository in the order of the page; other installed systems follow them."""


class LoadedGenerator(Protocol):
    """Attributes of every loaded generator.

    Attributes:
        source: origin of the checkpoint, for the page.
        disclaimer: statement to show with every output, or empty.
        identity_names: training identities; empty if unknown.
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
        """Generate one image (H, W, 3) RGB of the identity that speaks in these utterances.

        Raises:
            ValueError, OSError: a file cannot be used (no speech, unreadable); the message names it.
        """
        ...


@dataclass(frozen=True, eq=False)
class GenerationStep:
    """A picture on its way.

    Attributes:
        stage: what is being done, in a few words.
        fraction: of the work that is done, 0...1.
        image: (H, W, 3) uint8 RGB; None: there is none yet.
    """

    stage: str
    fraction: float
    image: "NDArray[np.uint8] | None" = None


@runtime_checkable
class SteppingImageGenerator(Protocol):
    """A slow image generator that shows how far it is."""

    def generate_in_steps(
        self, utterances: Sequence[Path], on_step: Callable[[GenerationStep], None]
    ) -> "NDArray[np.uint8]":
        """Generate the image of `ImageGenerator.generate_image`, and call `on_step` now and then.

        An error that `on_step` raises ends the work and is passed on.
        """
        ...


@dataclass(frozen=True, eq=False)
class DescribedMesh:
    """A mesh, and how it differs from a mean head.

    Attributes:
        vertices: (V, 3), as of `MeshGenerator.generate_vertices`.
        reference: (V, 3) mean head of the nearer sex.
        reference_name: its name, such as "female".
        face_type: nearest reference face, such as "slim".
        distances: to the mean heads by name: norm of the difference over the number of vertices.
        differences: relative difference of widths to the mean head, by name.
    """

    vertices: "NDArray[np.float32]"
    reference: "NDArray[np.floating[Any]]"
    reference_name: str
    face_type: str
    distances: dict[str, float]
    differences: dict[str, float]


@runtime_checkable
class DescribingMeshGenerator(Protocol):
    """A mesh generator that compares its meshes with mean heads."""

    def describe_utterance(self, utterance: Path) -> DescribedMesh:
        """Generate and describe a mesh; errors as of `MeshGenerator.generate_vertices`."""
        ...


class MeshGenerator(LoadedGenerator, Protocol):
    """A loaded model that generates meshes from voices.

    Attributes:
        triangles: (T, 3) vertex indices, counter-clockwise seen from outside; the same for every mesh.
        landmarks: (68,) vertex indices of the iBUG landmarks; None if the mesh has none.
    """

    @property
    def triangles(self) -> "NDArray[np.integer[Any]]": ...
    @property
    def landmarks(self) -> "NDArray[np.integer[Any]] | None": ...

    def generate_vertices(self, utterance: Path) -> "NDArray[np.float32]":
        """Generate the frontal mesh (V, 3) of the speaker: x right, y up, z towards the viewer, any unit.

        Raises:
            ValueError, OSError: the utterance cannot be used; the message states the reason.
        """
        ...


@dataclass(frozen=True)
class AssociationSystem:
    """A system that embeds voices and faces in one space.

    Attributes:
        name: name of the package.
        description: a few words, such as "common space with identity weights".
        load: (checkpoint or run folder, or None for the bundled weights, device=...) -> `Embedder`.
        train: (population folder, folder for runs, device=...) -> run folder of the finished model. Trains
            the quick configuration on the training identities, resumes a stopped training exactly, and does
            nothing if it has finished. None: the demo uses the bundled weights.
        require: raises FileNotFoundError or ValueError, in one sentence with the remedy, if something that
            `train` and the bundled weights need is not installed; None: the package is enough.
    """

    name: str
    description: str
    load: "Callable[..., Embedder]"
    train: Callable[..., Path] | None = None
    require: Callable[[], None] | None = None

    @classmethod
    def from_spec(cls, spec: SystemSpec) -> "AssociationSystem":
        """Build the record from a specification; the decodable part of corrupt utterances is used."""

        def train(population: Path, out: Path, *, device: str = "cpu") -> Path:
            from voiceface.association.demo import build_training_steps, run_training_steps

            steps, runs = build_training_steps(spec, out, population, device=device)
            run_training_steps(population, steps)
            return list(runs.values())[-1]

        def load(weights: Path | None = None, *, device: str = "cpu") -> "Embedder":
            model = load_embedder(spec, weights, device=device, on_corrupt="salvage")
            model.require()
            return model

        def require() -> None:
            if spec.requirements is not None:
                spec.resolve("requirements")()

        return cls(spec.name, spec.description, load, train, require)


@dataclass(frozen=True)
class ImageSystem:
    """A system that generates a face image from a voice.

    Attributes:
        name: name of the package.
        description: a few words.
        load: (checkpoint or None for the bundled weights, device=..., bank=...) -> `ImageGenerator`. `bank`:
            files of face images from which a generator may start, none of them of a known speaker; with
            pictures=... (`voiceface.faces.PictureReader`) they are people's own pictures. long=...
            (`voiceface.io.long_recordings.LongRecordings`) is given where it is not the default.
        is_fast: an image takes a fraction of a second, so that a hundred identities can be evaluated.
    """

    name: str
    description: str
    load: Callable[..., ImageGenerator]
    is_fast: bool = True


@dataclass(frozen=True)
class MeshSystem:
    """A system that generates a 3-D face from a voice.

    Attributes:
        name: name of the package.
        description: a few words.
        load: (checkpoint or None for the bundled weights, device=...) -> `MeshGenerator`; long=... as for
            images.
    """

    name: str
    description: str
    load: Callable[..., MeshGenerator]


System: TypeAlias = AssociationSystem | ImageSystem | MeshSystem


@dataclass(frozen=True)
class SystemSet:
    """Available systems, and the reasons why others are unavailable.

    Attributes:
        found: available systems in the order of the page.
        unavailable: name -> reason and remedy.
    """

    found: tuple[System, ...]
    unavailable: dict[str, str]

    @property
    def association_systems(self) -> list[AssociationSystem]:
        """Systems that rank faces."""
        return [system for system in self.found if isinstance(system, AssociationSystem)]

    @property
    def image_systems(self) -> list[ImageSystem]:
        """Systems that generate images."""
        return [system for system in self.found if isinstance(system, ImageSystem)]

    @property
    def mesh_systems(self) -> list[MeshSystem]:
        """Systems that generate meshes."""
        return [system for system in self.found if isinstance(system, MeshSystem)]

    def select(self, names: Sequence[str]) -> "SystemSet":
        """Select systems by name.

        Raises:
            ValueError: a system is not available; the message states the reason.
        """
        available = {system.name for system in self.found}
        for name in names:
            if name not in available:
                raise ValueError(
                    f"no system {name!r}: {self.unavailable.get(name, 'unknown')}; available: "
                    f"{', '.join(sorted(available)) or 'none'}"
                )
        return SystemSet(tuple(system for system in self.found if system.name in names), {})

    def without_unready(self) -> "SystemSet":
        """Leave out association systems that lack something besides their package; the reason is kept."""
        reasons: dict[str, str] = {}
        for system in self.association_systems:
            try:
                if system.require is not None:
                    system.require()
            except (ValueError, OSError) as error:
                reasons[system.name] = str(error)
        ready = tuple(system for system in self.found if system.name not in reasons)
        return SystemSet(ready, {**self.unavailable, **reasons})


def find_systems(entries: Iterable[metadata.EntryPoint] | None = None) -> SystemSet:
    """Find the installed systems.

    Args:
        entries: entry points to load (default: those of the group in this environment).

    Raises:
        TypeError: an entry point is not a record of this module.
    """
    entry_points = {
        entry.name: entry
        for entry in (metadata.entry_points(group=ENTRY_POINT_GROUP) if entries is None else entries)
    }
    found: list[System] = []
    unavailable: dict[str, str] = {}
    for name in (*KNOWN_SYSTEMS, *sorted(set(entry_points) - set(KNOWN_SYSTEMS))):
        if name not in entry_points:
            unavailable[name] = _why_unavailable(name)
            continue
        try:
            system = entry_points[name].load()
        except (ImportError, AttributeError) as error:
            unavailable[name] = f"cannot be loaded ({error}); install it again: pip install ./packages/{name}"
            continue
        if not isinstance(system, AssociationSystem | ImageSystem | MeshSystem):
            raise TypeError(
                f"entry point {name} of {ENTRY_POINT_GROUP} is of type {type(system).__name__}, expected an "
                "AssociationSystem, ImageSystem or MeshSystem of voiceface.suite.plugins"
            )
        found.append(system)
    return SystemSet(tuple(found), unavailable)


def _why_unavailable(name: str) -> str:
    """Reason why a system has no entry point."""
    if util.find_spec(name) is None:
        return f"not installed: pip install ./packages/{name}"
    return "installed, but this version has no entry point"
