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

from voiceface.suite.plugins import Association, MeshMaker, PictureMaker, PictureSystem, Systems

if TYPE_CHECKING:
    from voiceface.association.embedder import Embedder

log = logging.getLogger(__name__)
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Voice:
    """One recording that is heard.

    Attributes:
        name: of the recording or of who speaks, for the page.
        file: the recording.
        person: who speaks; empty where nobody knows.
        note: a few words under the name.
    """

    name: str
    file: Path
    person: str = ""
    note: str = ""


@dataclass(frozen=True)
class Face:
    """One candidate.

    Attributes:
        name: for the page.
        files: its pictures; the first is shown.
        person: who is seen; empty where nobody knows.
    """

    name: str
    files: tuple[Path, ...]
    person: str = ""


@dataclass
class Answers:
    """What the systems made.

    Attributes:
        scores: association system -> (V, F) cosines; a row or column of NaN where a file could not be used.
        pictures: picture system -> a picture of each voice, or None.
        meshes: mesh system -> vertices of each voice, or None.
        triangles: mesh system -> of its meshes.
        notices: what must be said, each once.
        trained_on: system -> names of the people behind its weights.
        sources: system -> where its weights come from.
        failed: file -> system -> why it could not be used.
    """

    scores: dict[str, Scores] = field(default_factory=dict)
    pictures: dict[str, list[NDArray[np.uint8] | None]] = field(default_factory=dict)
    meshes: dict[str, list[NDArray[np.float32] | None]] = field(default_factory=dict)
    triangles: dict[str, NDArray[Any]] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    trained_on: dict[str, tuple[str, ...]] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    failed: dict[str, dict[str, str]] = field(default_factory=dict)

    def note(self, name: str, made_by: Any) -> None:
        """Keep what a loaded model says of itself."""
        self.sources[name] = made_by.source
        self.trained_on[name] = tuple(made_by.names or ())
        if made_by.notice and made_by.notice not in self.notices:
            self.notices.append(made_by.notice)

    def fail(self, file: Path | str, name: str, why: object) -> None:
        """Keep why a system could not use a file."""
        self.failed.setdefault(str(file), {})[name] = str(why)

    @property
    def heard(self) -> set[int]:
        """Voices of which some system made something."""
        rows = {
            int(row) for table in self.scores.values() for row in np.flatnonzero(np.isfinite(table).any(1))
        }
        for made in self.pictures.values():
            rows |= {row for row, picture in enumerate(made) if picture is not None}
        for meshes in self.meshes.values():
            rows |= {row for row, mesh in enumerate(meshes) if mesh is not None}
        return rows


def load_systems(
    systems: Systems, weights: Mapping[str, Path], *, device: str = "cpu", bank: Sequence[Path] = ()
) -> tuple[dict[str, Any], Systems]:
    """Load every system's weights.

    Args:
        systems: who takes part.
        weights: system -> file or run folder; the bundled ones of the others.
        device: where the networks run.
        bank: pictures that makers may start from.

    Returns:
        Name -> what `load` gave; the systems without those whose bundled weights are not there.

    Raises:
        ValueError, OSError: weights that were named cannot be used; or nobody's can.
    """
    models: dict[str, Any] = {}
    absent = dict(systems.absent)
    for system in systems.found:
        given = weights.get(system.name)
        more: dict[str, Any] = {"bank": bank} if isinstance(system, PictureSystem) else {}
        try:
            models[system.name] = system.load(given, device=device, **more)
        except (ValueError, OSError) as error:
            if given is not None:
                raise
            absent[system.name] = str(error)
            log.warning("without %s: %s", system.name, error)
    if not models:
        raise ValueError(f"no system can be used: {'; '.join(f'{k}: {v}' for k, v in absent.items())}")
    return models, Systems(tuple(s for s in systems.found if s.name in models), absent)


def rank(
    answers: Answers, system: Association, model: "Embedder", voices: Sequence[Voice], faces: Sequence[Face]
) -> None:
    """Score every voice with every face; a face of several pictures is their mean direction."""
    from voiceface.association.embedding import embed
    from voiceface.embeddings.table import EmbeddingError

    answers.note(system.name, model)
    pictures = [file for face in faces for file in face.files]
    try:
        table = embed(model, [voice.file for voice in voices], pictures, progress=False)
    except EmbeddingError as error:
        if not error.failures:
            raise
        for file, why in error.failures.items():
            answers.fail(file, system.name, why)
        return
    for file, why in table.failed.items():
        answers.fail(file, system.name, why)
    left = np.full((len(voices), table.vectors.shape[1]), np.nan)
    right = np.full((len(faces), table.vectors.shape[1]), np.nan)
    for row, voice in enumerate(voices):
        if voice.file.as_posix() in table:
            left[row] = table.means([[voice.file.as_posix()]])[0]
    for row, face in enumerate(faces):
        if files := [file.as_posix() for file in face.files if file.as_posix() in table]:
            right[row] = table.means([files])[0]
    left, right = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (left, right))
    answers.scores[system.name] = left @ right.T


def draw(
    answers: Answers,
    name: str,
    maker: PictureMaker,
    voices: Sequence[Voice],
    rows: Iterable[int] | None = None,
) -> None:
    """A picture of every voice, or of those of these rows alone."""
    answers.note(name, maker)
    answers.pictures[name] = _each(answers, name, voices, rows, lambda file: maker.picture([file]))


def model_heads(
    answers: Answers, name: str, maker: MeshMaker, voices: Sequence[Voice], rows: Iterable[int] | None = None
) -> None:
    """A mesh of every voice, or of those of these rows alone."""
    answers.note(name, maker)
    answers.triangles[name] = maker.triangles
    answers.meshes[name] = _each(answers, name, voices, rows, maker.vertices)


def _each(
    answers: Answers,
    name: str,
    voices: Sequence[Voice],
    rows: Iterable[int] | None,
    make: Callable[[Path], NDArray[Any]],
) -> list[NDArray[Any] | None]:
    """What is made of each voice; None of those that are not asked for or cannot be used."""
    made: list[NDArray[Any] | None] = [None] * len(voices)
    for row in tqdm(
        range(len(voices)) if rows is None else list(rows), desc=name, unit="voice", disable=None
    ):
        try:
            made[row] = make(voices[row].file)
        except (ValueError, OSError) as error:
            answers.fail(voices[row].file, name, error)
    return made
