"""Test identities of `voicestyle test`: recordings and real images, from a corpus or a population."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from voiceface.metrics.unavailable import UnavailableResult
    from voiceface.synthetic.head.geometry_truth import FaceGroundTruth

__all__ = [
    "EvaluationSet",
    "alternate_genders",
    "build_corpus_evaluation_set",
    "build_synthetic_evaluation_set",
    "select_ground_truth",
]

MAX_TRUE_IMAGES = 8
"""Largest number of real images per identity that generated faces are compared with."""


@dataclass(frozen=True)
class EvaluationSet:
    """Identities to generate faces for.

    Attributes:
        identity_names: of the N identities.
        voice_paths: one recording of each.
        true_images: real images (P, S, S, 3) uint8 of each.
        genders: (N,), or None if unknown.
        ground_truth: attributes of synthetic identities, else None.
        disclaimer: text to show with every result, or empty.
        unavailable: identities whose images cannot be read, with the reasons.
    """

    identity_names: "tuple[str, ...]"
    voice_paths: "tuple[Path, ...]"
    true_images: "list[np.ndarray]"
    genders: "np.ndarray | None"
    ground_truth: "FaceGroundTruth | None"
    disclaimer: str = ""
    unavailable: "tuple[UnavailableResult, ...]" = ()


def build_synthetic_evaluation_set(
    preset: str, split: str, num_identities: int | None, folder: Path
) -> EvaluationSet:
    """Take identities of a population preset and write one clip of each to `folder`."""
    import numpy as np
    from voiceface.audio.loading import write_wav
    from voiceface.datasets.disclaimers import SYNTHETIC_DATA_DISCLAIMER
    from voiceface.synthetic.dataset import PopulationDataset
    from voiceface.synthetic.head.geometry_truth import build_face_ground_truth

    dataset = PopulationDataset(preset, split)
    count = min(num_identities or len(dataset), len(dataset))
    rows = list(range(count)) if num_identities is None else alternate_genders(dataset.identities.sex, count)
    identities = dataset.identities.take(rows)
    folder.mkdir(parents=True, exist_ok=True)
    voices = [folder / f"{name}.wav" for name in identities.face_names]
    for path, row in zip(voices, rows):
        write_wav(path, dataset.clips[row, 0])
    return EvaluationSet(
        tuple(identities.face_names),
        tuple(voices),
        [np.asarray(dataset.images[row, :MAX_TRUE_IMAGES]) for row in rows],
        identities.sex,
        build_face_ground_truth(identities),
        SYNTHETIC_DATA_DISCLAIMER,
    )


def build_corpus_evaluation_set(data: Path, split: str, num_identities: int | None) -> EvaluationSet:
    """Take the first clip and the first images, cropped to squares, of each identity of a corpus.

    Identities whose clip is absent, or whose images cannot be read, are left out and listed.

    Raises:
        CorpusError, FileNotFoundError: the corpus is missing or invalid.
        ValueError: no identity has both a clip and images that can be read.
    """
    import numpy as np
    from voiceface.datasets.corpus import open_corpus
    from voiceface.io.packed_folders import file_exists
    from voiceface.metrics.unavailable import UnavailableResult

    from voicestyle.stylegan2.dataset import load_square_image

    corpus = open_corpus(data, split)
    records = [record for record in corpus.records if record.voices and record.faces][:num_identities]
    if not records:
        raise ValueError(f"no identity of the split {split} in {data} has both a clip and an image")
    images: list[np.ndarray] = []
    unavailable: list[UnavailableResult] = []
    usable = []
    for record in records:
        try:
            if not file_exists(corpus.voice_path(record.voices[0])):
                raise FileNotFoundError(f"nothing at {corpus.voice_path(record.voices[0])}")
            paths = [corpus.face_path(face) for face in record.faces[:MAX_TRUE_IMAGES]]
            images.append(np.stack([load_square_image(path, 256) for path in paths]))
        except (ValueError, OSError) as error:
            unavailable.append(UnavailableResult.from_error(f"identity {record.identity.name}", error))
        else:
            usable.append(record)
    records = usable
    if not records:
        shown = "; ".join(map(str, unavailable[:5]))
        raise ValueError(f"the files of none of {len(unavailable)} identities can be used: {shown}")
    genders = np.array([record.identity.gender or "" for record in records])
    return EvaluationSet(
        tuple(record.identity.name for record in records),
        tuple(corpus.voice_path(record.voices[0]) for record in records),
        images,
        genders if (genders != "").all() else None,
        None,
        unavailable=tuple(unavailable),
    )


def alternate_genders(genders: "np.ndarray", count: int) -> list[int]:
    """Take the first rows of both genders in turn; return them in ascending order."""
    import numpy as np

    remaining = [list(np.flatnonzero(genders == gender)) for gender in np.unique(genders)]
    selected: list[int] = []
    while len(selected) < count:
        for rows in remaining:
            if rows and len(selected) < count:
                selected.append(int(rows.pop(0)))
    return sorted(selected)


def select_ground_truth(ground_truth: "FaceGroundTruth", rows: Sequence[int]) -> "FaceGroundTruth":
    """Return the ground truth of the given identities."""
    from dataclasses import replace

    index = list(rows)
    return replace(
        ground_truth,
        ids=ground_truth.ids[index],
        sex=ground_truth.sex[index],
        factors=ground_truth.factors[index],
        shape=ground_truth.shape[index],
        skin=ground_truth.skin[index],
    )
