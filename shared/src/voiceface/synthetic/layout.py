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
    "DEFAULT_GENERATOR",
    "GENERATORS",
    "POPULATION_FILE",
    "VIEWS_FILE",
    "PopulationError",
    "PopulationSettings",
    "build_settings",
    "choose_face_gain",
    "clip_path",
    "generator_version",
    "get_face_name",
    "image_path",
    "video_frame_path",
]

POPULATION_FILE = Path("truth") / "population.json"
VIEWS_FILE = Path("truth") / "views.npz"
GENERATORS = (1, 2)
"""Versions of voices and images. 1: heads made of formulas; people differ by little but the factors.
2: a mesh head, more in a voice that tells people apart, rooms and noises as real ones."""
DEFAULT_GENERATOR = 2
# Factor on the shape bases by generator of the images. Both exaggerate: at 64 pixels life-size variation is
# about one pixel. Life-like are 0.55 with generator 1 and 1 with 2.
DEFAULT_FACE_GAIN = {1: 1.0, 2: 1.5}


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
    face_gain: float = 1.0
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

    @property
    def image_generator(self) -> int:
        """Version of the images: 1 draws a head made of formulas, 2 the mesh head.

        Raises:
            PopulationError: this installation knows no such generator.
        """
        return self._find_version("image", GENERATORS)

    @property
    def voice_generator(self) -> int:
        """Version of the voices: in 1, people differ by the factors alone, nearly; in 2, by more.

        Raises:
            PopulationError: this installation knows no such generator.
        """
        return self._find_version("voice", GENERATORS)

    def _find_version(self, kind: str, known: Iterable[int]) -> int:
        """Return the number that follows `kind` in `generator`."""
        parts = dict(part.rsplit(" ", 1) for part in self.generator.split(", ") if " " in part)
        versions = {str(version): version for version in known}
        if parts.get(kind) not in versions:
            expected = " or ".join(f"{kind} {version}" for version in versions)
            raise PopulationError(
                f"generator is {self.generator!r}, expected one with {expected}; write the population anew"
            )
        return versions[parts[kind]]

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


def choose_face_gain(face_gain: float | None, generator: int) -> float:
    """Return `face_gain`, or where it is None that of the presets.

    Raises:
        ValueError: another generator.
    """
    if generator not in GENERATORS:
        raise ValueError(f"generator must be one of {', '.join(map(str, GENERATORS))}, got {generator!r}")
    return DEFAULT_FACE_GAIN[generator] if face_gain is None else face_gain


def generator_version(number: int | None = None) -> str:
    """Return the version of voices and images; increases when any output changes beyond tolerance.

    Args:
        number: of the generator, for voices and images; None: that of new populations.
    """
    number = DEFAULT_GENERATOR if number is None else number
    return f"voice {number}, image {number}"


def build_settings(
    preset: "Preset | str", *, num_identities: int | None = None, **changes: Any
) -> PopulationSettings:
    """Build the settings of a preset with changes.

    Args:
        preset: a preset or its name.
        num_identities: total number of identities, instead of the preset's, in the proportions of the
            standard set.
        changes: fields of `PopulationSettings`; None keeps the value of the preset. The generator may be
            given as a number, 1 or 2; the default of `face_gain` depends on it.

    Raises:
        PopulationError: a value is out of range.
        ValueError: unknown preset.
    """
    from voiceface.synthetic.presets import get_preset

    base = get_preset(preset) if isinstance(preset, str) else preset
    names = {f.name for f in fields(PopulationSettings)} & {f.name for f in fields(base)}
    if isinstance(changes.get("generator"), int):
        changes["generator"] = generator_version(changes["generator"])
    settings = PopulationSettings(preset=base.name, **{name: getattr(base, name) for name in names})
    settings = replace(settings, **{name: value for name, value in changes.items() if value is not None})
    if changes.get("face_gain") is None:
        settings = replace(settings, face_gain=DEFAULT_FACE_GAIN[settings.image_generator])
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
