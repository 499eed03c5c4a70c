"""Recording from the microphone, by the optional library PortAudio: level meter, countdown, clean stop."""

import sys
import time
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

RATE = 16000
BLOCK = 1024  # samples; the published program reads 78 of them for five seconds
REMEDY = "record five seconds with another program and give them with --wav FILE"


class MicrophoneError(OSError):
    """Nothing can be recorded; the message says why and what to do instead."""


def record(
    seconds: float = 5.0, device: str | int | None = None, show: TextIO | None = sys.stderr
) -> NDArray[np.int16]:
    """Record the default or another microphone, 16 kHz, mono.

    Args:
        seconds: length; whole blocks of 1024 samples, rounded down, as published.
        device: name or number of the device; None: the system's default.
        show: where the level and the seconds left are shown; None: nowhere.

    Returns:
        (T,) int16.

    Raises:
        MicrophoneError: no PortAudio, no device, or the device gives nothing.
    """
    sound = _library()
    blocks = int(seconds * RATE / BLOCK)
    if blocks < 1:
        raise ValueError(f"seconds is {seconds}, expected at least {BLOCK / RATE:.3f}")
    recorded: list[NDArray[np.int16]] = []
    started = time.monotonic()
    try:
        with sound.InputStream(RATE, BLOCK, device, channels=1, dtype="int16") as stream:
            for number in range(blocks):
                samples, _ = stream.read(BLOCK)
                recorded.append(np.array(samples[:, 0]))
                if show:
                    left = (blocks - number - 1) * BLOCK / RATE
                    print(f"\r{meter(recorded[-1])} {left:4.1f} s left ", end="", file=show, flush=True)
                if time.monotonic() - started > 4 * seconds + 5:
                    raise MicrophoneError(f"the microphone is far too slow; {REMEDY}")
    except (sound.PortAudioError, ValueError) as error:
        raise MicrophoneError(f"no microphone can be used ({_line(error)}); {REMEDY}") from None
    finally:
        if show and recorded:
            print(file=show)
    return np.concatenate(recorded)


def meter(samples: NDArray[np.int16], width: int = 30) -> str:
    """A bar for the level of some samples: empty at -60 dB of full scale, full at 0."""
    level = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0
    decibel = 20 * np.log10(max(level, 1e-3) / 32768)
    filled = int(np.clip(np.rint((decibel + 60) / 60 * width), 0, width))
    return f"[{'#' * filled}{'.' * (width - filled)}] {max(decibel, -99):5.0f} dB"


def count_down(seconds: int = 3, show: TextIO | None = sys.stderr) -> None:
    """Say how long it is until the recording begins."""
    for left in range(seconds, 0, -1):
        if show:
            print(f"\rspeak in {left} … ", end="", file=show, flush=True)
        time.sleep(1)
    if show and seconds:
        print("\rspeak now      ", file=show, flush=True)


def require_microphone(device: str | int | None = None) -> None:
    """Find out before the countdown whether anything can be recorded.

    Raises:
        MicrophoneError: nothing can.
    """
    sound = _library()
    try:
        sound.check_input_settings(device, channels=1, dtype="int16", samplerate=RATE)
    except (sound.PortAudioError, ValueError) as error:
        raise MicrophoneError(f"no microphone can be used ({_line(error)}); {REMEDY}") from None


def _library() -> Any:
    """The module sounddevice, which loads PortAudio when it is imported."""
    try:
        import sounddevice
    except ImportError:
        raise MicrophoneError(
            f"recording needs the package sounddevice (pip install sounddevice); or {REMEDY}"
        ) from None
    except OSError as error:
        raise MicrophoneError(
            f"recording needs the library PortAudio ({_line(error)}; on Debian: "
            f"apt-get install libportaudio2); or {REMEDY}"
        ) from None
    return sounddevice


def _line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
