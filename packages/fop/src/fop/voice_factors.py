"""From the feature of a face to the eight voice factors of the synthetic population, and to speech.

A linear map is fitted on synthetic identities (docs/population.md, "Coupling"): what it says about a face is
what the population's rule says. It says nothing about the voice of a real person.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from voiceface.checkpoints.published import CheckpointError
from voiceface.synthetic.identities import FACTORS, sample_identities

from fop.ridge import LinearMap

if TYPE_CHECKING:
    from voiceface.encoders.interface import EncoderInfo

__all__ = [
    "BUNDLED_FACTORS",
    "DISCLAIMER",
    "KIND",
    "FactorPrediction",
    "VoiceFactors",
    "load_voice_factors",
    "save_voice_factors",
    "speak_factors",
]

KIND = "voice_factors"
BUNDLED_FACTORS = "weights/voice_factors.safetensors"
DISCLAIMER = (
    "This voice is computed by a rule of a synthetic population, not learnt from real people: it says "
    "nothing about how a real person sounds."
)


class FactorPrediction(NamedTuple):
    """Voice factors of N faces.

    Attributes:
        male: (N,) bool.
        factors: (N, 8), in standard deviations within a sex, ordered as `FACTORS`.
    """

    male: NDArray[np.bool_]
    factors: NDArray[np.float64]


@dataclass(frozen=True)
class VoiceFactors:
    """Linear map from face features to sex and voice factors.

    Attributes:
        linear: (D, 9): first the sex, -1 female, 1 male, then the eight factors.
        encoder: face encoder whose features it takes.
        trained_on: the population, in words.
    """

    linear: LinearMap
    encoder: "EncoderInfo"
    trained_on: str

    def predict(self, features: ArrayLike) -> FactorPrediction:
        """Predict from features (N, D)."""
        values = self.linear.predict(features)
        return FactorPrediction(values[:, 0] > 0, values[:, 1:])


def speak_factors(
    male: bool, factors: ArrayLike, *, seconds: float = 5.0, seed: int = 0
) -> NDArray[np.int16]:
    """Synthesise clean speech of a speaker with given voice factors.

    Args:
        male: sex of the speaker.
        factors: shape (8,), in standard deviations within the sex.
        seconds: length, at least 0.1 s.
        seed: of what the factors leave open: syllables, melody, and personal habits such as the rate.

    Returns:
        Samples at 16 kHz, 16 bit.

    Raises:
        ValueError: another number of factors, a factor that is no number, or `seconds` too short.
    """
    from voiceface.synthetic.voice.speech_synthesis import synthesise_clip

    values = np.asarray(factors, float)
    if values.shape != (len(FACTORS),) or not np.isfinite(values).all():
        raise ValueError(f"expected {len(FACTORS)} finite voice factors, found {values.tolist()}")
    person = sample_identities([0], seed=seed)
    person = replace(person, sex=np.array([int(male)]), voice_factors=values[None])
    return synthesise_clip(person, 0, 0, seconds=seconds, nuisance=0.0).samples


def save_voice_factors(path: str | Path, model: VoiceFactors) -> None:
    """Write a map, atomically; a name that ends in .safetensors."""
    import torch
    from voiceface.checkpoints.native import save_model

    state = {name: torch.from_numpy(np.float32(value)) for name, value in model.linear._asdict().items()}
    extra = {"encoder": model.encoder.to_values(), "trained_on": model.trained_on, "disclaimer": DISCLAIMER}
    save_model(path, state, system="fop", kind=KIND, config={"factors": list(FACTORS)}, extra=extra)


def load_voice_factors(path: str | Path | None = None) -> VoiceFactors:
    """Read a map that `fop probe` wrote.

    Args:
        path: the file, or a folder that holds `voice_factors.safetensors`; None: the bundled one.

    Raises:
        CheckpointError: missing, corrupt, or of another kind.
    """
    from importlib import resources

    from voiceface.checkpoints.native import load_model
    from voiceface.encoders.interface import EncoderInfo

    if path is None:
        bundled = resources.files("fop") / BUNDLED_FACTORS
        with resources.as_file(bundled) as found:
            return load_voice_factors(found)
    source = Path(path)
    if source.is_dir():
        source = source / Path(BUNDLED_FACTORS).name
    if not source.is_file():
        raise CheckpointError(f"no file {source}: expected voice factors that `fop probe` wrote")
    stored = load_model(source, system="fop", kind=KIND)
    try:
        encoder = EncoderInfo.from_values(stored.extra["encoder"])
        linear = LinearMap(*(stored.state[name].numpy().astype(float) for name in LinearMap._fields))
        trained_on = str(stored.extra["trained_on"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{source} holds no voice factors ({error}); run `fop probe` again") from None
    shapes = (encoder.dimension, 1 + len(FACTORS)), (1 + len(FACTORS),)
    if (linear.weight.shape, linear.bias.shape) != shapes:
        raise CheckpointError(f"{source}: weights {linear.weight.shape}, expected {shapes[0]}")
    return VoiceFactors(linear, encoder, trained_on)
