"""Voice features of one utterance: from a recording, an array of samples, or a stored feature file.

Letters: T frames, M mel bands.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor
    from voiceface.io.file_facts import FileFacts

    from perceptionist.network_config import SpeechConfig

    FrontEnd = Callable[[Tensor], Tensor]

__all__ = [
    "FEATURE_SUFFIX",
    "MIN_SPEECH_SECONDS",
    "extract_speech_features",
    "load_features",
    "load_voice",
]


FEATURE_SUFFIX = ".npy"
MIN_SPEECH_SECONDS = 0.5


def load_voice(
    source: Any, n_mels: int = 64, front_end: "FrontEnd | None" = None, **options: Any
) -> "tuple[NDArray[Any], FileFacts | None]":
    """Load features (T, M) of a person's own voice, which is measured: silence and noise are refused.

    Args:
        source: path of a recording or a feature file (.npy), or samples; see
            `voiceface.real.voice_samples.read_voice_samples`.
        n_mels: M of stored features.
        front_end: of recordings, see `perceptionist.speech.extract_features`.
        options: further arguments of that function.

    Returns:
        The features, and what is known about the recording: notes and measures; None for others.

    Raises:
        AudioError, FileNotFoundError: as of `read_voice_samples`.
        SpeechError: as of `load_features`.
    """
    from voiceface.real.voice_samples import is_path, read_voice_samples

    from perceptionist.speech import SAMPLE_RATE, read_features

    if is_path(source) and Path(source).suffix.lower() == FEATURE_SUFFIX:
        return read_features(source, n_mels), None
    samples, name, facts = read_voice_samples(source, **options)
    return extract_speech_features(samples, SAMPLE_RATE, source=name, front_end=front_end), facts


def load_features(path: str | Path, speech: "SpeechConfig | None" = None, n_mels: int = 64) -> NDArray[Any]:
    """Load features (T, M) from a feature file (.npy) or a recording of a data folder, first channel.

    Raises:
        SpeechError: no voice, less than half a second of speech, or features of another shape or not finite.
        FileNotFoundError: no such file.
        voiceface.audio.loading.AudioError: not an audio file.
    """
    from perceptionist.network_config import DEFAULT_CONFIG
    from perceptionist.speech import read_features, read_recording

    if Path(path).suffix.lower() == FEATURE_SUFFIX:
        return read_features(path, n_mels)
    config = speech or DEFAULT_CONFIG
    samples, rate = read_recording(path, config)
    return extract_speech_features(samples, rate, config, str(path))


def extract_speech_features(
    samples: NDArray[Any],
    rate: int,
    config: "SpeechConfig | None" = None,
    source: str = "the recording",
    front_end: "FrontEnd | None" = None,
) -> NDArray[Any]:
    """Extract features as `speech.extract_features`, and require half a second of speech.

    Raises:
        SpeechError: there is less speech; the message says how much.
    """
    from perceptionist.network_config import DEFAULT_CONFIG
    from perceptionist.speech import SpeechError, extract_features, remove_silence

    config = config or DEFAULT_CONFIG
    speech = samples
    if config.remove_silence:
        speech = remove_silence(samples, rate, config, source)
    if len(speech) < MIN_SPEECH_SECONDS * rate:
        raise SpeechError(
            f"{source}: found {len(speech) / rate:.2f} s of speech in {len(samples) / rate:.2f} s of audio, "
            f"expected at least {MIN_SPEECH_SECONDS} s. Use a longer recording."
        )
    config = config.model_copy(update={"remove_silence": False})
    return extract_features(speech, rate, config, source, front_end)
