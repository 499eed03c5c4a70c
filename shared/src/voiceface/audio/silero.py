"""Silero's voice activity detector, an option beside WebRTC's: speech probabilities of 32 ms of sound.

The network is the file inside the wheel `silero-vad` (MIT; 2020-present Silero Team), run by onnxruntime
block by block. Nothing of that package is imported, since that would change PyTorch's number of threads.
"""

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["SILERO_FRAME", "SILERO_RATE", "SileroDetector", "has_silero", "load_silero"]

SILERO_RATE = 16000
SILERO_FRAME = 512
"""Samples of which a probability is made: 32 ms."""
CONTEXT = 64  # samples before a frame that the network sees
MAX_FRAMES = 160  # at a time; 5 s. Memory grows by 90 kB with each of them
NETWORK = Path("data", "silero_vad_16k_sequence.onnx")
REMEDY = "pip install 'voiceface-shared[silero]' (silero-vad and onnxruntime)"


def _find_network() -> Path | None:
    spec = importlib.util.find_spec("silero_vad")
    folders = spec.submodule_search_locations if spec is not None else None
    return next((path for folder in folders or () if (path := Path(folder) / NETWORK).is_file()), None)


def has_silero() -> bool:
    """Whether silero-vad and onnxruntime are installed."""
    return _find_network() is not None and importlib.util.find_spec("onnxruntime") is not None


class SileroDetector:
    """The network; from `load_silero`. It keeps nothing from one call to the next.

    Args:
        session: of onnxruntime.
    """

    def __init__(self, session: Any) -> None:
        self._session = session

    def probabilities(self, waveform: NDArray[np.floating]) -> NDArray[np.float32]:
        """Compute the probability of speech in every frame of `SILERO_FRAME` samples.

        Args:
            waveform: (T,) at 16 kHz, -1...1; the last frame is filled up with zeros.

        Returns:
            Shape (ceil(T / 512),), 0...1.
        """
        wave = np.asarray(waveform, np.float32)
        count = -(-len(wave) // SILERO_FRAME)
        if not count:
            return np.zeros(0, np.float32)
        padded = np.zeros(CONTEXT + count * SILERO_FRAME, np.float32)
        padded[CONTEXT : CONTEXT + len(wave)] = wave
        frames = np.lib.stride_tricks.sliding_window_view(padded, CONTEXT + SILERO_FRAME)[::SILERO_FRAME]
        found = []
        hidden, cell = np.zeros((2, 1, 1, 128), np.float32)
        for start in range(0, count, MAX_FRAMES):
            block = np.ascontiguousarray(frames[start : start + MAX_FRAMES])
            speech, hidden, cell = self._session.run(
                ["speech_probs", "hn", "cn"], {"input": block, "h": hidden, "c": cell}
            )
            found.append(speech.reshape(-1))
        return np.concatenate(found)


@lru_cache(maxsize=1)
def load_silero() -> SileroDetector:
    """Load the detector, once per process; it is used by several threads at a time.

    Raises:
        ModuleNotFoundError: silero-vad, of a version with this network, or onnxruntime is not installed.
    """
    path = _find_network()
    if path is None or not has_silero():
        raise ModuleNotFoundError(f"the voice activity detector silero is not installed: {REMEDY}")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(path), sess_options=options, providers=["CPUExecutionProvider"]
    )
    return SileroDetector(session)
