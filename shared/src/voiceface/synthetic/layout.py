"""Settings of a population and the paths of its files; imports nothing heavy."""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voiceface.synthetic.identities import Identities
    from voiceface.synthetic.presets import Preset

__all__ = [
    "DEFAULT_FACE_GAIN",
    "POPULATION_FILE",
    "VIEWS_FILE",
    "PopulationError",
    "PopulationSettings",
    "build_settings",
    "clip_path",
    "generator_version",
    "get_face_name",
    "image_path",
    "video_frame_path",
]

POPULATION_FILE = Path("truth") / "population.json"
VIEWS_FILE = Path("truth") / "views.npz"
# Factor on the shape bases; life-like is 1. At 64 pixels life-size variation is about one pixel.
DEFAULT_FACE_GAIN = 1.5


class PopulationError(ValueError):
    """A folder or settings that cannot be used; the message states the remedy."""


@dataclass(frozen=True)
class PopulationSettings:
    """All settings that determine the files of a population.

    Attributes:
        preset: name of the preset that the settings are based on.
        train, val, test: identities per split, the first ones of the split's range.
        clips: clips per identity.
        clip_seconds: length of a clip, s.
        images: images per identity.
        render_size: width and height of the images, pixels.
        rho: coupling of voice and face in [0, 1].
        seed: population seed.
        nuisance: factor on what differs between images of one identity.
        face_gain: factor on the shape bases.
        share_sex: voice and face have the same sex.
        confound: effect of nationality on voice and skin, 0 to 1.
        quirks: add unusual files.
        second_view: add `unzippedFaces/`.
        mesh: add `mesh/` and `face_model/`.
        generator: version of the generator, of voices and of images.
    """

    preset: str
    train: int
    val: int
    test: int
    clips: int
    clip_seconds: float
    images: int
    render_size: int
    rho: float
    seed: int = 0
    nuisance: float = 1.0
    face_gain: float = DEFAULT_FACE_GAIN
    share_sex: bool = True
    confound: float = 0.0
    quirks: bool = False
    second_view: bool = False
    mesh: bool = False
    generator: str = field(default_factory=lambda: generator_version())

    def __post_init__(self) -> None:
        """Validate all values.

        Raises:
            PopulationError: a value is out of range.
        """
        counts = {name: getattr(self, name) for name in ("train", "val", "test", "clips", "images", "seed")}
        wrong = [f"{name} must not be negative, got {value}" for name, value in counts.items() if value < 0]
        for name in ("rho", "confound"):
            if not 0 <= getattr(self, name) <= 1:
                wrong.append(f"{name} must lie in 0 ... 1, got {getattr(self, name)}")
        for name, least in (("clip_seconds", 0.1), ("render_size", 8), ("nuisance", 0)):
            if not getattr(self, name) >= least:
                wrong.append(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not self.face_gain > 0:
            wrong.append(f"face_gain must be above 0, got {self.face_gain}")
        if self.val > 116 or self.test > 193:
            wrong.append(f"val has at most 116 identities and test 193, got {self.val} and {self.test}")
        if wrong:
            raise PopulationError("; ".join(wrong))

    def require_current(self, source: str | Path = "these settings") -> "PopulationSettings":
        """Return the settings if this version draws and speaks their people.

        The files of a population of another version can be read; no other can be made for it.

        Args:
            source: file or folder that the settings come from, for the message.

        Raises:
            PopulationError: another version of the generator wrote the population.
        """
        if self.generator != generator_version():
            raise PopulationError(
                f"{source}: a population of generator {self.generator!r}; this version draws and speaks with "
                f"{generator_version()!r}; use the files that are there, or write a new population"
            )
        return self

    def ids(self, split: str = "all") -> list[int]:
        """Return the identity numbers of "train", "val", "test" or "all", ascending."""
        from voiceface.synthetic.identities import SPLIT_RANGES

        splits = SPLIT_RANGES if split == "all" else (split,)
        starts = {name: SPLIT_RANGES[name][0] for name in splits}
        return sorted(k for name, start in starts.items() for k in range(start, start + getattr(self, name)))

    def sample_identities(self, ids: Iterable[int] | None = None) -> "Identities":
        """Sample identities of the population by number; default: all, ascending."""
        from voiceface.synthetic.identities import sample_identities

        return sample_identities(
            list(self.ids() if ids is None else ids),
            seed=self.seed,
            rho=self.rho,
            share_sex=self.share_sex,
            confound=self.confound,
        )


def generator_version() -> str:
    """Return the version of voices and images; increases when any output changes beyond tolerance."""
    return "voice 3, image 3"


def build_settings(
    preset: "Preset | str", *, num_identities: int | None = None, **changes: Any
) -> PopulationSettings:
    """Build the settings of a preset with changes.

    Args:
        preset: a preset or its name.
        num_identities: total number of identities, instead of the preset's, in the proportions of the
            standard set.
        changes: fields of `PopulationSettings`; None keeps the value of the preset.

    Raises:
        PopulationError: a value is out of range.
        ValueError: unknown preset.
    """
    from voiceface.synthetic.presets import get_preset

    base = get_preset(preset) if isinstance(preset, str) else preset
    names = {f.name for f in fields(PopulationSettings)} & {f.name for f in fields(base)}
    settings = PopulationSettings(preset=base.name, **{name: getattr(base, name) for name in names})
    settings = replace(settings, **{name: value for name, value in changes.items() if value is not None})
    if num_identities is not None:
        if num_identities < 3:
            raise PopulationError(f"at least 3 identities are required, one per split; got {num_identities}")
        val = min(116, max(1, round(num_identities * 116 / 1251)))
        test = min(193, max(1, round(num_identities * 193 / 1251)))
        settings = replace(settings, train=num_identities - val - test, val=val, test=test)
    return settings


def get_face_name(identity: int, settings: PopulationSettings) -> str:
    """Return the face name of an identity; the quirks preset has one with a hyphen and a second dot."""
    from voiceface.synthetic.identities import SPLIT_RANGES, face_name

    name = face_name(identity, seed=settings.seed)
    if settings.quirks and identity == SPLIT_RANGES["train"][0] + 1:
        given, family = name.split("_", 1)
        return f"{given}-{given[:1]}._{family}"
    return name


def clip_path(identity: int, clip: int, settings: PopulationSettings) -> str:
    """Return the path of a clip below `wav/`: `<voice id>/<video id>/<5 digits>.wav`."""
    from voiceface.synthetic.identities import get_clip_video, num_videos, video_id, voice_id

    video = get_clip_video(identity, clip, seed=settings.seed)
    number = clip // num_videos(identity, seed=settings.seed) + 1
    return f"{voice_id(identity)}/{video_id(identity, video, seed=settings.seed)}/{number:05d}.wav"


def image_path(identity: int, image_index: int, settings: PopulationSettings) -> str:
    """Return the path of an image below `faces/`: `<Name>/<8 digits>.jpg`."""
    return f"{get_face_name(identity, settings)}/{image_index + 1:08d}.jpg"


def video_frame_path(identity: int, image_index: int, settings: PopulationSettings) -> str:
    """Return the path of an image below `unzippedFaces/`: `<Name>/1.6/<video id>/<7 digits>.jpg`."""
    from voiceface.synthetic.identities import get_image_video, num_videos, video_id

    video = get_image_video(identity, image_index, seed=settings.seed)
    number = 25 * (image_index // num_videos(identity, seed=settings.seed) + 1)
    video_name = video_id(identity, video, seed=settings.seed)
    return f"{get_face_name(identity, settings)}/1.6/{video_name}/{number:07d}.jpg"
