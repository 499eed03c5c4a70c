"""Stub systems in place of trained ones; their outputs are known in advance."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from voiceface.association.embedder import Embedder
from voiceface.audio.loading import load_audio
from voiceface.images.loading import load_image
from voiceface.suite.plugins import AssociationSystem, ImageSystem, MeshSystem
from voiceface.synthetic.head.model import build_head_model

WIDTH = 64


class FolderNameEmbedder:
    """Embed a file by the identity in its folder names, or all files alike (`constant`)."""

    def __init__(
        self, identity_rows: dict[str, int], constant: bool = False, names: Sequence[str] = ()
    ) -> None:
        self.identity_rows, self.constant = identity_rows, constant
        self.identity_names, self.source = tuple(names), "folder names"
        self.disclaimer = "A stub: its outputs mean nothing."
        self.voice_batch_size = self.face_batch_size = 16
        self.fingerprint = f"stub {constant} {sorted(identity_rows.items())}"
        self.device, self.dimension = torch.device("cpu"), WIDTH
        self.embedding_dim = WIDTH
        self.face_crop, self.pictures = "population", SimpleNamespace(convention="population")
        self.long_recordings = SimpleNamespace(policy="best")

    def comparable_fingerprints(self) -> tuple[str, ...]:
        return (self.fingerprint,)

    def _vector(self, path: str | Path) -> np.ndarray:
        vector = np.full(WIDTH, 0.01, np.float32)
        parts = [part for part in Path(path).parts if part in self.identity_rows]
        if parts and not self.constant:
            vector[self.identity_rows[parts[0]] % WIDTH] = 1
        return vector

    def load_voice(self, path: str | Path) -> np.ndarray:
        load_audio(path, scale="unit", resample=True)
        return self._vector(path)

    def read_recording(self, path: str | Path) -> tuple[np.ndarray, None]:
        return self.load_voice(path), None

    def describe_input(self, modality: str) -> str:
        return f"a {modality} in a folder of its person"

    def load_photograph(self, path: str | Path) -> np.ndarray:
        return self.load_face(path)

    def load_face(self, path: str | Path) -> np.ndarray:
        load_image(path)
        return self._vector(path)

    def encode_voices(self, rows: torch.Tensor) -> torch.Tensor:
        return rows

    encode_faces = encode_voices
    embed_items = Embedder.embed_items

    def modality_io(self, side, corpus):
        if side == "v":
            return self.load_voice, self.encode_voices, self.voice_batch_size, corpus.voice_path
        return self.load_face, self.encode_faces, self.face_batch_size, corpus.face_path


class GreyImageGenerator:
    """GreyImageGenerator image as bright as the voice is loud; fails for files named `refused`."""

    identity_names, source, disclaimer = ("Somebody",), "a formula", "A formula generated this image."

    def generate_image(self, utterances: Sequence[Path]) -> np.ndarray:
        if any("refused" in voice.name for voice in utterances):
            raise ValueError(f"{utterances[0]}: refused")
        wave = load_audio(utterances[0], scale="unit", resample=True, on_corrupt="salvage")
        return np.full((64, 64, 3), int(255 * min(1.0, float(np.abs(wave).mean()) * 4)), np.uint8)


class MeanHeadGenerator:
    """The mean head for every speaker."""

    identity_names, source, disclaimer = (), "a formula", ""

    def __init__(self) -> None:
        self.triangles, self.landmarks = build_head_model().triangles, build_head_model().landmarks

    def generate_vertices(self, utterance: Path) -> np.ndarray:
        return build_head_model().compute_vertices(np.zeros(40)).astype(np.float32)


def build_stub_systems(identity_rows: dict[str, int], names: Sequence[str] = ()):
    """One perfect and one constant association system, an image generator and a mesh generator."""
    perfect = FolderNameEmbedder(identity_rows, names=names)
    constant = FolderNameEmbedder(identity_rows, constant=True)
    return (
        AssociationSystem("perfect", "knows the labels", lambda weights, **_: perfect),
        AssociationSystem("constant", "equal scores", lambda weights, **_: constant),
        ImageSystem("grey", "a grey square", lambda weights, **_: GreyImageGenerator()),
        MeshSystem("mean", "the mean head", lambda weights, **_: MeanHeadGenerator()),
    )


IMAGE_SYSTEM = ImageSystem("grey", "a grey square", lambda weights, **_: GreyImageGenerator())
NOT_A_SYSTEM = object()
