"""Recording from the microphone, by the optional library PortAudio: level meter, countdown, clean stop."""

import sys
import time
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16000
BLOCK_SIZE = 1024  # samples; the published program reads 78 of them for five seconds
REMEDY = "record five seconds with another program and give them with --wav FILE"


class MicrophoneError(OSError):
    """Nothing can be recorded; the message says why and what to do instead."""


def record(
    seconds: float = 5.0, device: str | int | None = None, output: TextIO | None = sys.stderr
) -> NDArray[np.int16]:
    """Record the default or another microphone, 16 kHz, mono.

    Args:
        seconds: length; whole blocks of 1024 samples, rounded down, as published.
        device: name or number of the device; None: the system's default.
        output: where the level and the seconds left are shown; None: nowhere.

    Returns:
        (T,) int16.

    Raises:
        MicrophoneError: no PortAudio, no device, or the device gives nothing.
    """
    sound = _import_sounddevice()
    blocks = int(seconds * SAMPLE_RATE / BLOCK_SIZE)
    if blocks < 1:
        raise ValueError(f"seconds is {seconds}, expected at least {BLOCK_SIZE / SAMPLE_RATE:.3f}")
    recorded: list[NDArray[np.int16]] = []
    started = time.monotonic()
    try:
        with sound.InputStream(SAMPLE_RATE, BLOCK_SIZE, device, channels=1, dtype="int16") as stream:
            for number in range(blocks):
                samples, _ = stream.read(BLOCK_SIZE)
                recorded.append(np.array(samples[:, 0]))
                if output:
                    left = (blocks - number - 1) * BLOCK_SIZE / SAMPLE_RATE
                    print(
                        f"\r{format_level_meter(recorded[-1])} {left:4.1f} s left ",
                        end="",
                        file=output,
                        flush=True,
                    )
                if time.monotonic() - started > 4 * seconds + 5:
                    raise MicrophoneError(f"the microphone is far too slow; {REMEDY}")
    except (sound.PortAudioError, ValueError) as error:
        raise MicrophoneError(f"no microphone can be used ({_first_line(error)}); {REMEDY}") from None
    finally:
        if output and recorded:
            print(file=output)
    return np.concatenate(recorded)


def format_level_meter(samples: NDArray[np.int16], width: int = 30) -> str:
    """A bar for the level of some samples: empty at -60 dB of full scale, full at 0."""
    level = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0
    decibel = 20 * np.log10(max(level, 1e-3) / 32768)
    filled = int(np.clip(np.rint((decibel + 60) / 60 * width), 0, width))
    return f"[{'#' * filled}{'.' * (width - filled)}] {max(decibel, -99):5.0f} dB"


def countdown(seconds: int = 3, output: TextIO | None = sys.stderr) -> None:
    """Say how long it is until the recording begins."""
    for left in range(seconds, 0, -1):
        if output:
            print(f"\rspeak in {left} … ", end="", file=output, flush=True)
        time.sleep(1)
    if output and seconds:
        print("\rspeak now      ", file=output, flush=True)


def require_microphone(device: str | int | None = None) -> None:
    """Find out before the countdown whether anything can be recorded.

    Raises:
        MicrophoneError: nothing can.
    """
    sound = _import_sounddevice()
    try:
        sound.check_input_settings(device, channels=1, dtype="int16", samplerate=SAMPLE_RATE)
    except (sound.PortAudioError, ValueError) as error:
        raise MicrophoneError(f"no microphone can be used ({_first_line(error)}); {REMEDY}") from None


def _import_sounddevice() -> Any:
    """The module sounddevice, which loads PortAudio when it is imported."""
    try:
        import sounddevice
    except ImportError:
        raise MicrophoneError(
            f"recording needs the package sounddevice (pip install sounddevice); or {REMEDY}"
        ) from None
    except OSError as error:
        raise MicrophoneError(
            f"recording needs the library PortAudio ({_first_line(error)}; on Debian: "
            f"apt-get install libportaudio2); or {REMEDY}"
        ) from None
    return sounddevice


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
