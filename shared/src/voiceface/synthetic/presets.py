"""Presets: named sizes of the synthetic population."""

from dataclasses import dataclass

from voiceface.synthetic.identities import SPLIT_RANGES

__all__ = ["PRESETS", "SPLITS", "Preset", "get_preset", "get_split_ids"]


@dataclass(frozen=True)
class Preset:
    """Named size of a population.

    Attributes:
        name: unique name.
        train: identities in the training split.
        val: identities in the validation split.
        test: identities in the test split.
        clips: voice clips per identity.
        clip_seconds: length of a clip, s.
        images: images per identity.
        render_size: width and height of the images, pixels.
        rho: coupling of voice and face, 0 to 1.
        nuisance: factor on what differs between images of one identity; that of voices is always 1.
        rhos: couplings to compare; a study has several, which share the voices.
        quirks: add unusual files (very short clip, empty folder, greyscale image, foreign file, unusual
            name).
        on_disk: intended to be written to disk; otherwise to be streamed.
        description: one line.
    """

    name: str
    train: int
    val: int
    test: int
    clips: int
    clip_seconds: float
    images: int
    render_size: int
    rho: float
    nuisance: float
    rhos: tuple[float, ...] = ()
    quirks: bool = False
    on_disk: bool = True
    description: str = ""

    def __post_init__(self) -> None:
        if not self.rhos:
            object.__setattr__(self, "rhos", (self.rho,))
        for split, (first, end) in SPLIT_RANGES.items():
            size, limit = getattr(self, split), end - first
            if size < 0 or (split != "train" and size > limit):
                raise ValueError(f"preset {self.name}: {split} must have 0 to {limit} identities, got {size}")

    @property
    def num_identities(self) -> int:
        """Total number of identities."""
        return self.train + self.val + self.test


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("tiny", 16, 4, 8, 2, 2.0, 2, 64, 1.0, 0.3, description="unit tests"),
        Preset("quick", 300, 40, 100, 4, 3.0, 4, 64, 1.0, 0.3, description="continuous integration, demos"),
        Preset("standard", 942, 116, 193, 8, 4.0, 8, 128, 0.7, 1.0, description="the benchmark"),
        Preset(
            "study", 942, 116, 193, 8, 4.0, 8, 128, 0.7, 1.0,
            rhos=(0.0, 0.2, 0.5, 0.7, 0.85, 1.0), description="standard at six couplings, one voice set",
        ),
        Preset(
            "large", 100_000 - 309, 116, 193, 4, 3.0, 4, 128, 0.7, 1.0,
            on_disk=False, description="100,000 identities, for streaming",
        ),
        Preset("quirks", 16, 4, 8, 2, 2.0, 2, 64, 1.0, 0.3, quirks=True, description="unusual files"),
    )
}  # fmt: skip

SPLITS = ("train", "val", "test")


def get_preset(name: str) -> Preset:
    """Return the preset called `name`.

    Raises:
        ValueError: unknown name; the message lists the presets.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; expected one of {', '.join(PRESETS)}")
    return PRESETS[name]


def get_split_ids(preset: Preset | str, split: str = "all") -> range | list[int]:
    """Return the identity numbers of one split: the first n of the split's range.

    Args:
        preset: a preset or its name.
        split: "train", "val", "test", or "all" for all identities in ascending order.

    Returns:
        Identity numbers. A training split larger than that of the standard set continues beyond its end.

    Raises:
        ValueError: unknown preset or split.
    """
    chosen = get_preset(preset) if isinstance(preset, str) else preset
    if split == "all":
        return sorted(k for name in SPLITS for k in get_split_ids(chosen, name))
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; expected one of {', '.join(SPLITS)}, all")
    first, _ = SPLIT_RANGES[split]
    return range(first, first + getattr(chosen, split))
