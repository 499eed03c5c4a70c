"""Recording from the microphone through PortAudio (optional): level meter, countdown, error messages."""

import sys
import time
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BLOCK_SIZE",
    "REMEDY",
    "SAMPLE_RATE",
    "MicrophoneError",
    "countdown",
    "format_level_meter",
    "record",
    "require_microphone",
]


SAMPLE_RATE = 16000
BLOCK_SIZE = 1024  # samples; the published program reads 78 of them for five seconds
REMEDY = "record five seconds with another program and pass them with --wav FILE"


class MicrophoneError(OSError):
    """Recording is impossible; the message says why and what to do instead."""


def record(
    seconds: float = 5.0, device: str | int | None = None, output: TextIO | None = sys.stderr
) -> NDArray[np.int16]:
    """Record from the default or another microphone, 16 kHz, mono.

    Args:
        seconds: length; whole blocks of 1024 samples, rounded down, as published.
        device: name or number of the device; None: the system's default.
        output: stream for the level and the seconds left; None: no output.

    Returns:
        (T,) int16.

    Raises:
        MicrophoneError: no PortAudio, no device, or the device delivers no samples.
        ValueError: `seconds` is less than one block.
    """
    sounddevice = _import_sounddevice()
    num_blocks = int(seconds * SAMPLE_RATE / BLOCK_SIZE)
    if num_blocks < 1:
        raise ValueError(f"seconds is {seconds}, expected at least {BLOCK_SIZE / SAMPLE_RATE:.3f}")
    recorded: list[NDArray[np.int16]] = []
    start_time = time.monotonic()
    try:
        with sounddevice.InputStream(SAMPLE_RATE, BLOCK_SIZE, device, channels=1, dtype="int16") as stream:
            for block in range(num_blocks):
                samples, _ = stream.read(BLOCK_SIZE)
                recorded.append(np.array(samples[:, 0]))
                if output:
                    seconds_left = (num_blocks - block - 1) * BLOCK_SIZE / SAMPLE_RATE
                    print(
                        f"\r{format_level_meter(recorded[-1])} {seconds_left:4.1f} s left ",
                        end="",
                        file=output,
                        flush=True,
                    )
                if time.monotonic() - start_time > 4 * seconds + 5:
                    raise MicrophoneError(f"The microphone delivers samples too slowly; {REMEDY}.")
    except (sounddevice.PortAudioError, ValueError) as error:
        raise MicrophoneError(f"No microphone is available ({_first_line(error)}); {REMEDY}.") from None
    finally:
        if output and recorded:
            print(file=output)
    return np.concatenate(recorded)


def format_level_meter(samples: NDArray[np.int16], width: int = 30) -> str:
    """Format the level of some samples as a bar: empty at -60 dB of full scale, full at 0 dB."""
    level = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0
    level_db = 20 * np.log10(max(level, 1e-3) / 32768)
    num_filled = int(np.clip(np.rint((level_db + 60) / 60 * width), 0, width))
    return f"[{'#' * num_filled}{'.' * (width - num_filled)}] {max(level_db, -99):5.0f} dB"


def countdown(seconds: int = 3, output: TextIO | None = sys.stderr) -> None:
    """Count down to the recording."""
    for seconds_left in range(seconds, 0, -1):
        if output:
            print(f"\rspeak in {seconds_left} … ", end="", file=output, flush=True)
        time.sleep(1)
    if output and seconds:
        print("\rspeak now      ", file=output, flush=True)


def require_microphone(device: str | int | None = None) -> None:
    """Check whether a microphone is available.

    Raises:
        MicrophoneError: none is.
    """
    sounddevice = _import_sounddevice()
    try:
        sounddevice.check_input_settings(device, channels=1, dtype="int16", samplerate=SAMPLE_RATE)
    except (sounddevice.PortAudioError, ValueError) as error:
        raise MicrophoneError(f"No microphone is available ({_first_line(error)}); {REMEDY}.") from None


def _import_sounddevice() -> Any:
    """Import sounddevice, which loads PortAudio."""
    try:
        import sounddevice
    except ImportError:
        raise MicrophoneError(
            f"Recording needs the package sounddevice (pip install sounddevice); or {REMEDY}."
        ) from None
    except OSError as error:
        raise MicrophoneError(
            f"Recording needs the library PortAudio ({_first_line(error)}; on Debian: "
            f"apt-get install libportaudio2); or {REMEDY}."
        ) from None
    return sounddevice


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
