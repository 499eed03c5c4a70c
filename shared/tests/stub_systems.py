"""Systems of a few lines in place of trained ones: what they answer is known beforehand."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from voiceface.audio.loading import load_audio
from voiceface.images.loading import load_image
from voiceface.suite.plugins import AssociationSystem, ImageSystem, MeshSystem
from voiceface.synthetic.face.head import build_head_model

WIDTH = 64


class Told:
    """Knows who is who by the first folder name that both sides share, or answers alike for all (`deaf`)."""

    def __init__(self, people: dict[str, int], deaf: bool = False, names: Sequence[str] = ()) -> None:
        self.people, self.deaf = people, deaf
        self.identity_names, self.source, self.disclaimer = (
            tuple(names),
            "by heart",
            "A stand-in: its answers mean nothing.",
        )
        self.voice_batch_size = self.face_batch_size = 16
        self.fingerprint = f"told {deaf} {sorted(people.items())}"
        self.device, self.dimension = torch.device("cpu"), WIDTH

    def _vector(self, path: str | Path) -> np.ndarray:
        vector = np.full(WIDTH, 0.01, np.float32)
        owner = next((self.people[part] for part in Path(path).parts if part in self.people), None)
        if not self.deaf and owner is not None:
            vector[owner % WIDTH] = 1
        return vector

    def load_voice(self, path: str | Path) -> np.ndarray:
        load_audio(path, scale="unit", resample=True)
        return self._vector(path)

    def load_face(self, path: str | Path) -> np.ndarray:
        load_image(path)
        return self._vector(path)

    def encode_voices(self, rows: torch.Tensor) -> torch.Tensor:
        return rows

    encode_faces = encode_voices

    def modality_io(self, side, corpus):
        if side == "v":
            return self.load_voice, self.encode_voices, self.voice_batch_size, corpus.voice_path
        return self.load_face, self.encode_faces, self.face_batch_size, corpus.face_path


class Grey:
    """A picture as bright as the voice is loud; refuses recordings whose name says so."""

    identity_names, source, disclaimer = ("Somebody",), "a formula", "A formula made this picture."

    def generate_image(self, utterances: Sequence[Path]) -> np.ndarray:
        if any("refused" in voice.name for voice in utterances):
            raise ValueError(f"{utterances[0]}: refused")
        wave = load_audio(utterances[0], scale="unit", resample=True, on_corrupt="salvage")
        return np.full((64, 64, 3), int(255 * min(1.0, float(np.abs(wave).mean()) * 4)), np.uint8)


class MeanHead:
    """The mean head, whoever speaks."""

    identity_names, source, disclaimer = (), "a formula", ""

    def __init__(self) -> None:
        self.triangles, self.landmarks = build_head_model().triangles, build_head_model().landmarks

    def generate_vertices(self, utterance: Path) -> np.ndarray:
        return build_head_model().compute_vertices(np.zeros(40)).astype(np.float32)


def systems_of(people: dict[str, int], names: Sequence[str] = ()):
    """One knowing and one deaf association system, a picture maker and a mesh maker."""
    return (
        AssociationSystem("knowing", "has the answers", lambda weights, **_: Told(people, names=names)),
        AssociationSystem("deaf", "answers alike", lambda weights, **_: Told(people, deaf=True)),
        ImageSystem("grey", "a grey square", lambda weights, **_: Grey()),
        MeshSystem("mean", "the mean head", lambda weights, **_: MeanHead()),
    )


PICTURES = ImageSystem("grey", "a grey square", lambda weights, **_: Grey())
WRONG = object()
