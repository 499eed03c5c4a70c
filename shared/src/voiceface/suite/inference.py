"""Run every system on a set of utterances: similarity scores, images, meshes.

Letters: V utterances, F gallery entries.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voiceface.io.file_facts import FileFacts
from voiceface.io.long_recordings import DEFAULT_LONG_RECORDINGS, LongRecordings
from voiceface.runtime.progress import progress_bar
from voiceface.suite.plugins import AssociationSystem, ImageGenerator, ImageSystem, MeshGenerator, SystemSet

if TYPE_CHECKING:
    from voiceface.association.embedder import Embedder
    from voiceface.faces.own_pictures import PictureReader
    from voiceface.metrics.impostor_scores import ImpostorScores

__all__ = [
    "GalleryEntry",
    "Scores",
    "SystemOutputs",
    "Utterance",
    "generate_images",
    "generate_images_in_steps",
    "generate_meshes",
    "generate_meshes_in_steps",
    "load_systems",
    "rank_gallery",
]

log = logging.getLogger(__name__)
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Utterance:
    """One input utterance.

    Attributes:
        name: name of the utterance or its speaker on the page.
        file: the audio file.
        identity: the speaker; empty where unknown.
        note: short text under the name.
    """

    name: str
    file: Path
    identity: str = ""
    note: str = ""


@dataclass(frozen=True)
class GalleryEntry:
    """One candidate of the gallery.

    Attributes:
        name: name on the page.
        files: its images; the first is shown.
        identity: the identity shown; empty where unknown.
        faces: names of its faces in tables of embeddings; empty: the paths of `files`.
    """

    name: str
    files: tuple[Path, ...]
    identity: str = ""
    faces: tuple[str, ...] = ()

    @property
    def items(self) -> tuple[str, ...]:
        """Names of its faces in tables of embeddings."""
        return self.faces or tuple(file.as_posix() for file in self.files)


@dataclass
class SystemOutputs:
    """Outputs of the systems.

    Attributes:
        scores: association system -> (V, F) cosine similarities; NaN rows and columns for unusable files.
        images: image system -> an image for each voice, or None.
        meshes: mesh system -> vertices for each voice, or None.
        triangles: mesh system -> triangles of its meshes.
        disclaimers: disclaimers of the systems, each once.
        training_identities: system -> names of its training identities.
        checkpoint_sources: system -> origin of its checkpoint.
        impostor_scores: association system -> scores of impostor pairs, if its checkpoint holds them.
        percentiles: association system -> (V, F) shares of impostor pairs with lower scores, 0...1.
        gallery_sizes: association system -> number of items of its stored gallery, of which `scores` hold the
            best.
        facts: association system -> item of its embeddings -> what is known about the file and its face.
        recordings: file -> what is known about a recording, whatever system uses it.
        failures: file -> system -> reason why the file could not be used.
    """

    scores: dict[str, Scores] = field(default_factory=dict)
    images: dict[str, list[NDArray[np.uint8] | None]] = field(default_factory=dict)
    meshes: dict[str, list[NDArray[np.float32] | None]] = field(default_factory=dict)
    triangles: dict[str, NDArray[Any]] = field(default_factory=dict)
    disclaimers: list[str] = field(default_factory=list)
    training_identities: dict[str, tuple[str, ...]] = field(default_factory=dict)
    checkpoint_sources: dict[str, str] = field(default_factory=dict)
    impostor_scores: dict[str, "ImpostorScores"] = field(default_factory=dict)
    percentiles: dict[str, Scores] = field(default_factory=dict)
    gallery_sizes: dict[str, int] = field(default_factory=dict)
    facts: dict[str, Mapping[str, FileFacts]] = field(default_factory=dict)
    recordings: Mapping[str, FileFacts] = field(default_factory=dict)
    failures: dict[str, dict[str, str]] = field(default_factory=dict)

    def find_facts(self, item: str) -> FileFacts | None:
        """What the first system that knows a file says about it."""
        sources = (self.recordings, *self.facts.values())
        return next((known[item] for known in sources if item in known), None)

    def record_system(self, name: str, loaded: Any) -> None:
        """Record checkpoint, training identities and disclaimer of a loaded model."""
        self.checkpoint_sources[name] = loaded.source
        self.training_identities[name] = tuple(loaded.identity_names or ())
        if (known := getattr(loaded, "impostor_scores", None)) is not None:
            self.impostor_scores[name] = known
        if loaded.disclaimer and loaded.disclaimer not in self.disclaimers:
            self.disclaimers.append(loaded.disclaimer)

    def record_failure(self, file: Path | str, name: str, reason: object) -> None:
        """Record the reason why a system could not use a file."""
        self.failures.setdefault(str(file), {})[name] = str(reason)

    @property
    def processed_rows(self) -> set[int]:
        """Rows of the utterances for which some system has an output."""
        rows = {
            int(row) for table in self.scores.values() for row in np.flatnonzero(np.isfinite(table).any(1))
        }
        for images in self.images.values():
            rows |= {row for row, image in enumerate(images) if image is not None}
        for meshes in self.meshes.values():
            rows |= {row for row, mesh in enumerate(meshes) if mesh is not None}
        return rows


def load_systems(
    systems: SystemSet,
    checkpoints: Mapping[str, Path],
    *,
    device: str = "cpu",
    bank: Sequence[Path] = (),
    pictures: "PictureReader | None" = None,
    long: LongRecordings = DEFAULT_LONG_RECORDINGS,
    required: bool = True,
) -> tuple[dict[str, Any], SystemSet]:
    """Load the checkpoint of every system.

    Args:
        systems: the systems.
        checkpoints: system -> file or run folder; the other systems use their bundled ones.
        device: device of the networks.
        bank: images from which generators may start.
        pictures: how own pictures are read, the bank's too, each system by its own crop convention. None: the
            bank is a data folder.
        long: what is used of long recordings, by every system.
        required: at least one system must load.

    Returns:
        Loaded models by name; the systems without those whose bundled checkpoint is missing.

    Raises:
        ValueError, OSError: a given checkpoint cannot be used, or no system can be loaded.
    """
    models: dict[str, Any] = {}
    unavailable = dict(systems.unavailable)
    for system in systems.found:
        checkpoint = checkpoints.get(system.name)
        options: dict[str, Any] = {"bank": bank} if isinstance(system, ImageSystem) else {}
        if options and pictures is not None:
            options["pictures"] = pictures
        if long != DEFAULT_LONG_RECORDINGS and not isinstance(system, AssociationSystem):
            options["long"] = long
        try:
            models[system.name] = system.load(checkpoint, device=device, **options)
        except (ValueError, OSError) as error:
            if checkpoint is not None:
                raise
            unavailable[system.name] = str(error)
            log.warning("unavailable: %s (%s)", system.name, error)
    for each in systems.association_systems:
        if each.name in models:
            models[each.name].long_recordings = long
        if each.name in models and pictures is not None:
            models[each.name].pictures = pictures.with_convention(models[each.name].face_crop)
    if required and not models:
        raise ValueError(f"no system can be used: {'; '.join(f'{k}: {v}' for k, v in unavailable.items())}")
    return models, SystemSet(tuple(s for s in systems.found if s.name in models), unavailable)


def rank_gallery(
    outputs: SystemOutputs,
    system: AssociationSystem,
    model: "Embedder",
    utterances: Sequence[Utterance],
    gallery: Sequence[GalleryEntry],
) -> None:
    """Score every utterance against every gallery entry; embeddings of several images are averaged."""
    from voiceface.association.embedding import embed
    from voiceface.embeddings.table import EmbeddingError

    outputs.record_system(system.name, model)
    image_files = list(dict.fromkeys(file for entry in gallery for file in entry.files))
    try:
        table = embed(model, [utterance.file for utterance in utterances], image_files)
    except EmbeddingError as error:
        if not error.failures:
            raise
        for file, reason in error.failures.items():
            outputs.record_failure(file, system.name, reason)
        return
    for file, reason in table.failed.items():
        outputs.record_failure(file, system.name, reason)
    outputs.facts[system.name] = table.facts
    voice_vectors = np.full((len(utterances), table.vectors.shape[1]), np.nan)
    face_vectors = np.full((len(gallery), table.vectors.shape[1]), np.nan)
    lengths = np.ones(len(gallery))
    for row, utterance in enumerate(utterances):
        if utterance.file.as_posix() in table:
            voice_vectors[row] = table.group_means([[utterance.file.as_posix()]])[0]
    for row, entry in enumerate(gallery):
        if items := [item for item in entry.items if item in table]:
            face_vectors[row] = table.group_means([items])[0]
            lengths[row] = table.mean_resultant_lengths([items])[0]
    voice_vectors /= np.linalg.norm(voice_vectors, axis=1, keepdims=True)
    face_vectors /= np.linalg.norm(face_vectors, axis=1, keepdims=True)
    outputs.scores[system.name] = voice_vectors @ face_vectors.T
    if (known := outputs.impostor_scores.get(system.name)) is not None:
        # Of several images the mean of their cosines is compared, as impostor pairs are single files.
        outputs.percentiles[system.name] = known.percentiles(outputs.scores[system.name] * lengths)


def generate_images(
    outputs: SystemOutputs,
    name: str,
    generator: ImageGenerator,
    utterances: Sequence[Utterance],
    rows: Iterable[int] | None = None,
) -> None:
    """Generate an image for every utterance, or for the given rows only."""
    for _ in generate_images_in_steps(outputs, name, generator, utterances, rows):
        pass


def generate_images_in_steps(
    outputs: SystemOutputs,
    name: str,
    generator: ImageGenerator,
    utterances: Sequence[Utterance],
    rows: Iterable[int] | None = None,
) -> Iterator[int]:
    """The same as `generate_images`, one image a step: yield the row of each when it is done."""
    outputs.record_system(name, generator)
    results = outputs.images[name] = [None] * len(utterances)
    yield from _generate_each(
        outputs, name, utterances, rows, results, lambda file: generator.generate_image([file])
    )


def generate_meshes(
    outputs: SystemOutputs,
    name: str,
    generator: MeshGenerator,
    utterances: Sequence[Utterance],
    rows: Iterable[int] | None = None,
) -> None:
    """Generate a mesh for every utterance, or for the given rows only."""
    for _ in generate_meshes_in_steps(outputs, name, generator, utterances, rows):
        pass


def generate_meshes_in_steps(
    outputs: SystemOutputs,
    name: str,
    generator: MeshGenerator,
    utterances: Sequence[Utterance],
    rows: Iterable[int] | None = None,
) -> Iterator[int]:
    """The same as `generate_meshes`, one mesh a step: yield the row of each when it is done."""
    outputs.record_system(name, generator)
    outputs.triangles[name] = generator.triangles
    results = outputs.meshes[name] = [None] * len(utterances)
    yield from _generate_each(outputs, name, utterances, rows, results, generator.generate_vertices)


def _generate_each(
    outputs: SystemOutputs,
    name: str,
    utterances: Sequence[Utterance],
    rows: Iterable[int] | None,
    results: list[Any],
    generate: Callable[[Path], NDArray[Any]],
) -> Iterator[int]:
    """Put an output for each selected utterance that can be used into `results`; yield its row."""
    chosen = range(len(utterances)) if rows is None else list(rows)
    for row in progress_bar(chosen, name, "utterance"):
        try:
            results[row] = generate(utterances[row].file)
        except (ValueError, OSError) as error:
            outputs.record_failure(utterances[row].file, name, error)
        yield row
