"""Do embeddings of real people's voices and faces tell the people apart? Networks of real people, the bundled
weights of fop, which were trained on those networks' features of synthetic people, and the bundled weights of
the other association systems, which have heard and seen synthetic people only.

    python tests/real/verification_tables.py --packages FOLDER [--faces FOLDER]

prints the tables of docs/results.md. Voices are those of Debian's packages; FOLDER of faces has one folder of
pictures a person.
"""

import argparse
import importlib
import logging
import os
import random
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from debian_packages import SPEECH, fetch_packages, find_speakers
from numpy.typing import NDArray
from voiceface.audio.loading import load_audio, write_wav
from voiceface.images.photographs import load_photograph
from voiceface.metrics.verification import equal_error_rate

__all__ = [
    "SYSTEMS",
    "Row",
    "compare_faces",
    "compare_voices",
    "cut_clips",
    "format_rows",
    "verify",
]

Array = NDArray[np.float32]
SYSTEMS = ("fop", "cmpc2", "seeking_shape", "archetype_agnostic")
RATE, CLIP_SECONDS, CLIPS_PER_SPEAKER = 16000, 5, 6
SILENCE, MARGIN, LEVEL = 0.02, 800, 0.05  # of full scale, samples, root mean square


@dataclass(frozen=True)
class Row:
    """One line of a table: EER and share of items whose nearest other item is of the same person, 0...1."""

    title: str
    eer: float
    nearest: float


def cut_clips(speakers: dict[str, list[Path]], seed: int = 0) -> tuple[list[str], list[Array]]:
    """Join a speaker's recordings, without silence at their ends, and cut them into clips of 5 s.

    Args:
        speakers: speaker -> recordings.
        seed: of their order.

    Returns:
        (speaker, (80000,) at 16 kHz) of every clip, at most six a speaker, all at one level.
    """
    rng, names, clips = random.Random(seed), [], []
    wanted = RATE * CLIP_SECONDS
    for name, paths in sorted(speakers.items()):
        parts: list[Array] = []
        for path in rng.sample(paths, len(paths)):
            wave = load_audio(path, scale="unit", sample_rate=RATE, resample=True, channel="auto")
            loud = np.flatnonzero(np.abs(wave) > SILENCE)
            if len(loud):
                wave = wave[max(0, loud[0] - MARGIN) : loud[-1] + MARGIN]
            parts.append(wave * np.float32(LEVEL / (np.sqrt(np.mean(np.square(wave))) + 1e-9)))
            if sum(map(len, parts)) > wanted * CLIPS_PER_SPEAKER:
                break
        joined = np.concatenate(parts)
        for first in range(min(CLIPS_PER_SPEAKER, len(joined) // wanted)):
            names.append(name)
            clips.append(joined[first * wanted : (first + 1) * wanted])
    return names, clips


def verify(title: str, people: Sequence[str], embeddings: Array) -> Row:
    """Compare all pairs by cosine.

    Args:
        title: of the row.
        people: of the N embeddings.
        embeddings: (N, D).
    """
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    cosine, names = unit @ unit.T, np.array(people)
    first, second = np.triu_indices(len(names), 1)
    labels = torch.from_numpy(names[first] == names[second])
    rate = equal_error_rate(torch.from_numpy(cosine[first, second]), labels.long()).rate.item()
    np.fill_diagonal(cosine, -np.inf)
    return Row(title, rate, float(np.mean(names[cosine.argmax(1)] == names)))


def compare_voices(people: Sequence[str], clips: Sequence[Array], folder: Path) -> list[Row]:
    """Verify speakers with the voice encoder, the bundled weights and statistics of cepstra.

    Args:
        people: speakers of the clips.
        clips: (T,) at 16 kHz.
        folder: the clips are written there as files for the systems.
    """
    import librosa
    from voiceface.real import load_voice_encoder

    rows = [verify("voice encoder of `models get real`", people, load_voice_encoder().embed(clips))]
    paths = [folder / f"{number:03}.wav" for number in range(len(clips))]
    for path, clip in zip(paths, clips):
        write_wav(path, np.clip(np.rint(clip * 32768), -32768, 32767).astype(np.int16))
    for name in SYSTEMS:
        model = importlib.import_module(name).load()
        # Without the fetched networks no notes on several speakers are computed; fop needs them as encoders.
        without_networks = patch.dict(os.environ, VOICEFACE_HOME=str(folder))
        with nullcontext() if name == "fop" else without_networks:
            embeddings = model.embed_voices(paths).numpy()
        rows.append(verify(f"{name}, bundled weights", people, embeddings))
    cepstra = [librosa.feature.mfcc(y=clip, sr=RATE, n_mfcc=20)[1:] for clip in clips]
    means = np.stack([np.concatenate([each.mean(1), each.std(1)]) for each in cepstra])
    return [*rows, verify("mean and deviation of 19 cepstral coefficients, untrained", people, means)]


def compare_faces(paths: Sequence[Path], crop: str = "population") -> list[Row]:
    """Verify people with the face encoder and the bundled weights; a file's folder names the person.

    Args:
        paths: pictures, each with a face.
        crop: crop convention of the pictures that the bundled weights get.
    """
    from voiceface.faces import crop_face, load_face_finder
    from voiceface.real import load_face_encoder

    finder, encoder, people = load_face_finder(), load_face_encoder(), [path.parent.name for path in paths]
    pictures = [load_photograph(path) for path in paths]
    faces = [found[0] for found in finder.find(pictures)]
    chips = np.stack([face.encoder_chip(picture) for face, picture in zip(faces, pictures)])
    rows = [verify("face encoder of `models get real`", people, encoder.embed(chips))]
    crops = [crop_face(picture, face.points, crop) for face, picture in zip(faces, pictures)]
    for name in SYSTEMS:
        model = importlib.import_module(name).load()
        embed: Callable[..., torch.Tensor] = model.embed_faces
        rows.append(verify(f"{name}, bundled weights, faces found and cut out", people, embed(crops).numpy()))
        rows.append(verify(f"{name}, bundled weights, pictures as they are", people, embed(pictures).numpy()))
    return rows


def format_rows(rows: Sequence[Row]) -> str:
    """The rows as a table in Markdown, percent."""
    lines = ["| embeddings | EER, % | nearest other item is the same person, % |", "|---|---|---|"]
    return "\n".join(
        lines + [f"| {row.title} | {100 * row.eer:.1f} | {100 * row.nearest:.1f} |" for row in rows]
    )


def main() -> None:
    """Print the tables."""
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", type=Path, required=True, help="folder that keeps Debian's packages")
    parser.add_argument("--faces", type=Path, help="folder with one folder of pictures a person")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    os.environ["VOICEFACE_SPEECH_FINDER"] = "pitch"  # which refuses none of the clips
    speakers = find_speakers(fetch_packages(options.packages, SPEECH))
    people, clips = cut_clips(speakers)
    pairs = len(clips) * (len(clips) - 1) // 2
    print(f"{len(clips)} clips of {len(set(people))} speakers, {pairs} pairs")
    with tempfile.TemporaryDirectory() as folder:
        print(format_rows(compare_voices(people, clips, Path(folder))))
    if options.faces:
        paths = sorted(options.faces.glob("*/*.jpg"))
        print(f"\n{len(paths)} pictures of {len({path.parent for path in paths})} people")
        print(format_rows(compare_faces(paths)))


if __name__ == "__main__":
    main()
