"""What a written population is made of and where its files lie; imports nothing heavy."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voiceface.synthetic.presets import Preset

POPULATION_FILE = Path("truth") / "population.json"


class PopulationError(ValueError):
    """A folder or a request that cannot be used; the message names the way out."""


@dataclass(frozen=True)
class PopulationSettings:
    """Everything that the content of the files depends on.

    Attributes:
        preset: name of the preset it started from.
        train, val, test: identities in each split, the first ones of the split's range.
        clips: clips per identity.
        clip_seconds: their length, s.
        images: images per identity.
        render_size: their width and height, pixels.
        rho: coupling in [0, 1].
        seed: population seed.
        nuisance: factor on what differs between images.
        face_gain: factor on the shape bases.
        share_sex: voice and face have the same sex.
        confound: what nationality does to voice and skin, 0 to 1.
        quirks: with rare odd files.
        second_view: with `unzippedFaces/`.
        mesh: with `mesh/` and `face_model/`.
        generator: version of the generator.
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
        """Refuse what cannot be made before anything is written."""
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
            wrong.append(f"val holds at most 116 identities and test 193, got {self.val} and {self.test}")
        if wrong:
            raise PopulationError("; ".join(wrong))

    def ids(self, split: str = "all") -> list[int]:
        """Identity numbers of a split, or of all, ascending."""
        from voiceface.synthetic.identities import SPLIT_RANGES

        chosen = SPLIT_RANGES if split == "all" else (split,)
        return sorted(
            k for s in chosen for k in range(SPLIT_RANGES[s][0], SPLIT_RANGES[s][0] + getattr(self, s))
        )


def generator_version() -> str:
    """Version of voices and images; goes up when any output changes beyond tolerance."""
    from voiceface.synthetic.face.render import IMAGE_VERSION
    from voiceface.synthetic.voice.speech_synthesis import GENERATOR_VERSION

    return f"voice {GENERATOR_VERSION}, image {IMAGE_VERSION}"


def build_settings(
    preset: "Preset | str", *, num_identities: int | None = None, **changes: Any
) -> PopulationSettings:
    """Settings of a preset with changes.

    Args:
        preset: a preset or its name.
        num_identities: identities in all, instead of the preset's; split in the standard set's shares.
        changes: fields of `PopulationSettings`; None leaves a field as it is.
    """
    from voiceface.synthetic.presets import get_preset

    chosen = get_preset(preset) if isinstance(preset, str) else preset
    names = (
        "train",
        "val",
        "test",
        "clips",
        "clip_seconds",
        "images",
        "render_size",
        "rho",
        "nuisance",
        "quirks",
    )
    settings = PopulationSettings(preset=chosen.name, **{name: getattr(chosen, name) for name in names})
    settings = replace(settings, **{name: value for name, value in changes.items() if value is not None})
    if num_identities is not None:
        if num_identities < 3:
            raise PopulationError(f"at least 3 identities are needed, one per split: got {num_identities}")
        val = min(116, max(1, round(num_identities * 116 / 1251)))
        test = min(193, max(1, round(num_identities * 193 / 1251)))
        settings = replace(settings, train=num_identities - val - test, val=val, test=test)
    return settings


def get_face_name(identity: int, settings: PopulationSettings) -> str:
    """Face name of identity k; the quirks preset puts a hyphen and another dot into one."""
    from voiceface.synthetic.identities import SPLIT_RANGES, face_name

    name = face_name(identity, seed=settings.seed)
    if settings.quirks and identity == SPLIT_RANGES["train"][0] + 1:
        given, family = name.split("_", 1)
        return f"{given}-{given[:1]}._{family}"
    return name


def clip_path(identity: int, clip: int, settings: PopulationSettings) -> str:
    """`<voice id>/<video id>/<5 digits>.wav`, below `wav/`."""
    from voiceface.synthetic.identities import get_clip_video, num_videos, video_id, voice_id

    video = get_clip_video(identity, clip, seed=settings.seed)
    number = clip // num_videos(identity, seed=settings.seed) + 1
    return f"{voice_id(identity)}/{video_id(identity, video, seed=settings.seed)}/{number:05d}.wav"


def image_path(identity: int, image_index: int, settings: PopulationSettings) -> str:
    """`<Name>/<8 digits>.jpg`, below `faces/`."""
    return f"{get_face_name(identity, settings)}/{image_index + 1:08d}.jpg"


def video_frame_path(identity: int, image_index: int, settings: PopulationSettings) -> str:
    """`<Name>/1.6/<video id>/<7 digits>.jpg`, below `unzippedFaces/`."""
    from voiceface.synthetic.identities import get_image_video, num_videos, video_id

    video = get_image_video(identity, image_index, seed=settings.seed)
    number = 25 * (image_index // num_videos(identity, seed=settings.seed) + 1)
    video_name = video_id(identity, video, seed=settings.seed)
    return f"{get_face_name(identity, settings)}/1.6/{video_name}/{number:07d}.jpg"
