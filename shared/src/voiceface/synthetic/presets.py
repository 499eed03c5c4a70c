"""Named sizes of the synthetic population."""

from dataclasses import dataclass

from voiceface.synthetic.identities import SPLIT_RANGES


@dataclass(frozen=True)
class Preset:
    """One named set.

    Attributes:
        name: how it is asked for.
        train: identities in the training split.
        val: identities in the validation split.
        test: identities in the test split.
        clips: voice clips per identity.
        clip_seconds: length of a clip, s.
        images: images per identity.
        render_size: side of the square images, pixels.
        rho: coupling of voice and face, 0 to 1.
        nuisance: multiplier of the per-picture nuisance; the voice side stays at 1.
        rhos: every coupling that is compared; more than one in a study (one voice set serves all).
        quirks: add rare odd files (very short clip, empty folder, grey image, foreign file, odd name).
        on_disk: whether writing it as files makes sense; streamed otherwise.
        description: one line for identities.
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
            size = getattr(self, split)
            if size < 0 or (split != "train" and size > end - first):
                raise ValueError(
                    f"preset {self.name}: {split} holds 0 to {end - first} identities, got {size}"
                )

    @property
    def num_identities(self) -> int:
        """How many identities there are in all."""
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
            on_disk=False, description="100,000 identities, made to be streamed",
        ),
        Preset("quirks", 16, 4, 8, 2, 2.0, 2, 64, 1.0, 0.3, quirks=True, description="tiny, with odd files"),
    )
}  # fmt: skip

SPLITS = ("train", "val", "test")


def get_preset(name: str) -> Preset:
    """The preset called `name`.

    Raises:
        ValueError: there is none; the message lists what there is.
    """
    if name not in PRESETS:
        raise ValueError(f"no population preset {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]


def get_split_ids(preset: Preset | str, split: str = "all") -> range | list[int]:
    """Identity numbers of one split: the first n of the split's range.

    Args:
        preset: a preset or its name.
        split: "train", "val", "test", or "all" for every identity in ascending order.

    Returns:
        Identity numbers k. Training resumes past the standard set's end when it is larger.
    """
    chosen = get_preset(preset) if isinstance(preset, str) else preset
    if split == "all":
        return sorted(k for name in SPLITS for k in get_split_ids(chosen, name))
    if split not in SPLITS:
        raise ValueError(f"no split {split!r}; there are {', '.join(SPLITS)} and all")
    first, _ = SPLIT_RANGES[split]
    return range(first, first + getattr(chosen, split))
