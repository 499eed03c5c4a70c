"""What every system makes of some voices: faces in order, pictures, meshes.

Letters: V voices, F faces.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from voiceface.suite.plugins import AssociationSystem, ImageGenerator, ImageSystem, MeshGenerator, SystemSet

if TYPE_CHECKING:
    from voiceface.association.embedder import Embedder

log = logging.getLogger(__name__)
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Utterance:
    """One recording that is heard.

    Attributes:
        name: of the recording or of who speaks, for the page.
        file: the recording.
        identity: who speaks; empty where nobody knows.
        note: a few words under the name.
    """

    name: str
    file: Path
    identity: str = ""
    note: str = ""


@dataclass(frozen=True)
class GalleryEntry:
    """One candidate.

    Attributes:
        name: for the page.
        files: its pictures; the first is shown.
        identity: who is seen; empty where nobody knows.
    """

    name: str
    files: tuple[Path, ...]
    identity: str = ""


@dataclass
class SystemOutputs:
    """What the systems made.

    Attributes:
        scores: association system -> (V, F) cosines; a row or column of NaN where a file could not be used.
        images: picture system -> a picture of each voice, or None.
        meshes: mesh system -> vertices of each voice, or None.
        triangles: mesh system -> of its meshes.
        disclaimers: what must be said, each once.
        training_identities: system -> names of the people behind its weights.
        checkpoint_sources: system -> where its weights come from.
        failures: file -> system -> why it could not be used.
    """

    scores: dict[str, Scores] = field(default_factory=dict)
    images: dict[str, list[NDArray[np.uint8] | None]] = field(default_factory=dict)
    meshes: dict[str, list[NDArray[np.float32] | None]] = field(default_factory=dict)
    triangles: dict[str, NDArray[Any]] = field(default_factory=dict)
    disclaimers: list[str] = field(default_factory=list)
    training_identities: dict[str, tuple[str, ...]] = field(default_factory=dict)
    checkpoint_sources: dict[str, str] = field(default_factory=dict)
    failures: dict[str, dict[str, str]] = field(default_factory=dict)

    def record_system(self, name: str, loaded: Any) -> None:
        """Keep what a loaded model says of itself."""
        self.checkpoint_sources[name] = loaded.source
        self.training_identities[name] = tuple(loaded.identity_names or ())
        if loaded.disclaimer and loaded.disclaimer not in self.disclaimers:
            self.disclaimers.append(loaded.disclaimer)

    def record_failure(self, file: Path | str, name: str, reason: object) -> None:
        """Keep why a system could not use a file."""
        self.failures.setdefault(str(file), {})[name] = str(reason)

    @property
    def processed_rows(self) -> set[int]:
        """Voices of which some system made something."""
        rows = {
            int(row) for table in self.scores.values() for row in np.flatnonzero(np.isfinite(table).any(1))
        }
        for made in self.images.values():
            rows |= {row for row, picture in enumerate(made) if picture is not None}
        for meshes in self.meshes.values():
            rows |= {row for row, mesh in enumerate(meshes) if mesh is not None}
        return rows


def load_systems(
    systems: SystemSet, checkpoints: Mapping[str, Path], *, device: str = "cpu", bank: Sequence[Path] = ()
) -> tuple[dict[str, Any], SystemSet]:
    """Load every system's weights.

    Args:
        systems: who takes part.
        checkpoints: system -> file or run folder; the bundled ones of the others.
        device: where the networks run.
        bank: pictures that makers may start from.

    Returns:
        Name -> what `load` gave; the systems without those whose bundled weights are not there.

    Raises:
        ValueError, OSError: weights that were named cannot be used; or nobody's can.
    """
    models: dict[str, Any] = {}
    absent = dict(systems.unavailable)
    for system in systems.found:
        given = checkpoints.get(system.name)
        more: dict[str, Any] = {"bank": bank} if isinstance(system, ImageSystem) else {}
        try:
            models[system.name] = system.load(given, device=device, **more)
        except (ValueError, OSError) as error:
            if given is not None:
                raise
            absent[system.name] = str(error)
            log.warning("without %s: %s", system.name, error)
    if not models:
        raise ValueError(f"no system can be used: {'; '.join(f'{k}: {v}' for k, v in absent.items())}")
    return models, SystemSet(tuple(s for s in systems.found if s.name in models), absent)


def rank_gallery(
    outputs: SystemOutputs,
    system: AssociationSystem,
    model: "Embedder",
    utterances: Sequence[Utterance],
    gallery: Sequence[GalleryEntry],
) -> None:
    """Score every voice with every face; a face of several pictures is their mean direction."""
    from voiceface.association.embedding import embed
    from voiceface.embeddings.table import EmbeddingError

    outputs.record_system(system.name, model)
    pictures = [file for face in gallery for file in face.files]
    try:
        table = embed(model, [voice.file for voice in utterances], pictures, progress=False)
    except EmbeddingError as error:
        if not error.failures:
            raise
        for file, why in error.failures.items():
            outputs.record_failure(file, system.name, why)
        return
    for file, why in table.failed.items():
        outputs.record_failure(file, system.name, why)
    left = np.full((len(utterances), table.vectors.shape[1]), np.nan)
    right = np.full((len(gallery), table.vectors.shape[1]), np.nan)
    for row, voice in enumerate(utterances):
        if voice.file.as_posix() in table:
            left[row] = table.group_means([[voice.file.as_posix()]])[0]
    for row, face in enumerate(gallery):
        if files := [file.as_posix() for file in face.files if file.as_posix() in table]:
            right[row] = table.group_means([files])[0]
    left, right = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (left, right))
    outputs.scores[system.name] = left @ right.T


def generate_images(
    outputs: SystemOutputs,
    name: str,
    generator: ImageGenerator,
    utterances: Sequence[Utterance],
    rows: Iterable[int] | None = None,
) -> None:
    """A picture of every voice, or of those of these rows alone."""
    outputs.record_system(name, generator)
    outputs.images[name] = _generate_each(
        outputs, name, utterances, rows, lambda file: generator.generate_image([file])
    )


def generate_meshes(
    outputs: SystemOutputs,
    name: str,
    generator: MeshGenerator,
    utterances: Sequence[Utterance],
    rows: Iterable[int] | None = None,
) -> None:
    """A mesh of every voice, or of those of these rows alone."""
    outputs.record_system(name, generator)
    outputs.triangles[name] = generator.triangles
    outputs.meshes[name] = _generate_each(outputs, name, utterances, rows, generator.generate_vertices)


def _generate_each(
    outputs: SystemOutputs,
    name: str,
    utterances: Sequence[Utterance],
    rows: Iterable[int] | None,
    generate: Callable[[Path], NDArray[Any]],
) -> list[NDArray[Any] | None]:
    """What is made of each voice; None of those that are not asked for or cannot be used."""
    made: list[NDArray[Any] | None] = [None] * len(utterances)
    for row in tqdm(
        range(len(utterances)) if rows is None else list(rows), desc=name, unit="voice", disable=None
    ):
        try:
            made[row] = generate(utterances[row].file)
        except (ValueError, OSError) as error:
            outputs.record_failure(utterances[row].file, name, error)
    return made
