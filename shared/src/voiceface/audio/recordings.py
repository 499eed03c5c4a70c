"""A person's own recordings: one channel at 16 kHz, measured; silence and noise reach no network.

Data folders are read by `voiceface.audio.loading.load_audio`, without a gate.
"""

import logging
import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np

from voiceface.audio.channels import ChannelChoice
from voiceface.audio.decoding import decode_blocks, join_blocks
from voiceface.audio.loading import read_audio_info, to_one_channel
from voiceface.audio.long_recordings import (
    RecordingStream,
    choose_best,
    join_stretches,
    read_all,
)
from voiceface.audio.recording_quality import (
    MIN_SECONDS,
    MIN_SPEECH_SECONDS,
    RecordingQuality,
    SpeechFinder,
    choose_speech_finder,
    combine_qualities,
    measure_quality,
    require_sound,
    require_speech,
)
from voiceface.audio.samples import (
    AudioError,
    DecodedAudio,
    OnCorrupt,
    SampleScale,
    Waveform,
    scale_factor_offset,
)
from voiceface.audio.spoken_parts import SpokenParts, find_spoken_parts
from voiceface.io.file_facts import FileFacts
from voiceface.io.file_kinds import printable
from voiceface.io.long_recordings import DEFAULT_LONG_RECORDINGS, LongRecordings

__all__ = [
    "MIN_SECONDS",
    "MIN_SPEECH_SECONDS",
    "Heard",
    "LongRecordings",
    "Recording",
    "RecordingQuality",
    "hear",
    "is_longer",
    "load_recording",
    "measure_quality",
    "read_recording",
    "require_sound",
    "require_speech",
    "use_windows",
]

log = logging.getLogger(__name__)

SAMPLE_RATE = 16000
WHOLE_SECONDS, PART_SECONDS = 120, 20  # longer recordings are measured in parts


@dataclass(frozen=True, eq=False)
class Recording:
    """A person's own recording, ready for a front end.

    Attributes:
        waveform: (T,), float32, 16 kHz, in the scale that was asked for.
        quality: measurements of the waveform.
        notes: sentences about what makes a result doubtful, and about peculiarities of the file, without its
            name; empty for most. Words before a first colon say it in short.
        seconds: duration of the file, of which a part is used.
        stretches: parts of the file of which the waveform consists, (begin, end) in seconds.
    """

    waveform: Waveform
    quality: RecordingQuality
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    stretches: tuple[tuple[float, float], ...] = ()

    def describe(self, file: str | os.PathLike[str]) -> FileFacts:
        """Record for tables, JSON files and pages: notes and measures.

        Args:
            file: name of the recording.
        """
        measures = {name: float(value) for name, value in asdict(self.quality).items()}
        return FileFacts(os.fspath(file), "recording", self.notes, measures)


class Heard(NamedTuple):
    """What a network hears of a recording.

    Attributes:
        waveform: (T,), the parts in which somebody speaks.
        quality: measurements of the waveform.
        notes: what is left out, and what makes a result doubtful.
        parts: of the recording that are used.
    """

    waveform: Waveform
    quality: RecordingQuality
    notes: tuple[str, ...]
    parts: SpokenParts


def hear(
    waveform: Waveform, *, full_scale: float = 1.0, offset: float = 0.0, source: str = "the recording"
) -> Heard:
    """Measure a person's own recording, refuse it if it holds no speech, and cut it to its spoken parts.

    It stays whole where the parts would be refused: beside a bang, speech may be as quiet as a pause.

    Args:
        waveform: (T,) at 16 kHz.
        full_scale: value of full scale, 1 or 32768.
        offset: value of silence.
        source: name for messages.

    Raises:
        AudioError: silence, noise, or too little speech.
    """
    finder = choose_speech_finder()
    require_speech(quality := _measure(waveform, full_scale, offset, finder), source)
    return _cut(waveform, quality, full_scale, offset, finder)


def _cut(
    waveform: Waveform, quality: RecordingQuality, full_scale: float, offset: float, finder: SpeechFinder
) -> Heard:
    """Cut a waveform that holds enough speech to its spoken parts, if these do so too."""
    parts = find_spoken_parts(waveform, full_scale=full_scale, finder=finder)
    if not parts.is_whole:
        kept = parts.cut(waveform, offset=offset)
        measured = _measure(kept, full_scale, offset, finder)
        if _holds_speech(measured):
            waveform, quality = kept, measured
        else:
            parts = SpokenParts(((0, len(waveform)),), len(waveform))
    return Heard(waveform, quality, (*parts.notes, *quality.notes), parts)


def _holds_speech(quality: RecordingQuality) -> bool:
    return quality.seconds >= MIN_SECONDS and quality.speech_seconds >= MIN_SPEECH_SECONDS


def _measure(waveform: Waveform, full_scale: float, offset: float, finder: SpeechFinder) -> RecordingQuality:
    """Measure a waveform, a long one part by part: memory does not grow with its length."""
    length = len(waveform) if len(waveform) <= WHOLE_SECONDS * SAMPLE_RATE else PART_SECONDS * SAMPLE_RATE
    parts = (waveform[start : start + length] for start in range(0, max(1, len(waveform)), max(1, length)))
    shift = np.float32(offset)
    qualities = [measure_quality(part - shift, full_scale=full_scale, finder=finder) for part in parts]
    return qualities[0] if len(qualities) == 1 else combine_qualities(qualities)


def read_recording(
    path: str | os.PathLike[str],
    *,
    scale: SampleScale,
    resample: bool = True,
    on_corrupt: OnCorrupt = "error",
    channel: ChannelChoice = "auto",
    long: LongRecordings = DEFAULT_LONG_RECORDINGS,
    best_seconds: float | None = None,
) -> Recording:
    """Read a person's own recording at 16 kHz, measure it, and refuse it if it holds no speech.

    Nothing is logged: the notes are returned. Beginnings, ends and long pauses in which nobody speaks are
    left out (`voiceface.audio.spoken_parts`). Of a recording longer than `long.seconds`, the best part is
    used by default, and memory does not grow with its length. With `long.policy` "all" the waveform holds
    all of its speech, 230 MB an hour; `use_windows` passes it on in windows.

    Args:
        path: any file that `voiceface.audio.loading.decode_audio` reads.
        scale: see there. With "native" the values are judged by the full scale of the file's sample format.
        resample: convert other rates instead of refusing them.
        on_corrupt: see `decode_audio`.
        channel: see `voiceface.audio.channels.mix_channels`.
        long: what is used of a long recording.
        best_seconds: what the network takes of a recording: the first so many seconds. Of a long one "best"
            chooses so much.

    Raises:
        FileNotFoundError: no such file.
        AudioError: as of `load_audio`; silence, noise, or too little speech.
    """
    found = _read_short(path, scale, resample, on_corrupt, channel, long)
    if found is not None:
        return found
    finder = choose_speech_finder()
    stream = RecordingStream(path, scale=scale, resample=resample, on_corrupt=on_corrupt, channel=channel)
    name = printable(path)
    if long.policy == "best":
        seconds = min(long.seconds, best_seconds or long.seconds)
        waveform, stretches = choose_best(stream, seconds, finder)
        used = f"the best {len(waveform) / SAMPLE_RATE:.0f} s of speech are used"
        note = f"long: {_format_time(stream.seconds)}; {used}"
        name = f"{name}: {note}"
    else:
        waveform = read_all(stream)
        stretches = ((0.0, len(waveform) / SAMPLE_RATE),)
        note = f"long: {_format_time(stream.seconds)}; all of its speech is used"
    heard = hear(waveform, full_scale=stream.full_scale, offset=stream.offset, source=name)
    notes = (note, *stream.notes, *heard.notes)
    return Recording(heard.waveform, heard.quality, notes, stream.seconds, heard.parts.locate(stretches))


def use_windows(
    path: str | os.PathLike[str],
    use: Callable[[Waveform], None],
    *,
    window_seconds: float,
    scale: SampleScale,
    resample: bool = True,
    on_corrupt: OnCorrupt = "error",
    channel: ChannelChoice = "auto",
) -> Recording:
    """Pass a recording of any length on in windows, one behind another, in bounded memory.

    Args:
        path, scale, resample, on_corrupt, channel: see `read_recording`.
        use: is called with every window that holds speech, (T,), cut to its spoken parts.
        window_seconds: of a window.

    Returns:
        The measurements of the whole, with an empty waveform.

    Raises:
        FileNotFoundError, AudioError: as `read_recording`; no window holds speech.
    """
    finder = choose_speech_finder()
    stream = RecordingStream(path, scale=scale, resample=resample, on_corrupt=on_corrupt, channel=channel)
    qualities: list[RecordingQuality] = []
    stretches: list[tuple[float, float]] = []
    count, left_out = 0, 0.0
    for begin, window in stream.windows(window_seconds):
        quality = measure_quality(stream.judged(window), full_scale=stream.full_scale, finder=finder)
        qualities.append(quality)
        if _holds_speech(quality):
            heard = _cut(window, quality, stream.full_scale, stream.offset, finder)
            use(heard.waveform)
            count += 1
            left_out += heard.parts.seconds_left_out
            stretches += heard.parts.locate([(begin, begin + quality.seconds)])
    whole = combine_qualities(qualities)
    if not count:
        require_speech(whole, printable(path))
        raise AudioError(
            f"{printable(path)}: none of {len(qualities)} windows of {window_seconds:g} s holds "
            f"{MIN_SPEECH_SECONDS:g} s of speech; record it again"
        )
    note = (
        f"long: {_format_time(stream.seconds)}; mean over the {count} of {len(qualities)} windows that hold "
        "speech"
    )
    if left_out:
        note += f", without {left_out:.1f} s in them in which nobody speaks"
    nothing = np.zeros(0, np.float32)
    notes = (note, *stream.notes, *whole.notes)
    return Recording(nothing, whole, notes, stream.seconds, join_stretches(stretches))


def _read_short(
    path: str | os.PathLike[str],
    scale: SampleScale,
    resample: bool,
    on_corrupt: OnCorrupt,
    channel: ChannelChoice,
    long: LongRecordings,
) -> Recording | None:
    """Read a recording that is not long as `load_audio` does; None if it is long."""
    held: list[DecodedAudio] = []
    count = 0
    blocks = decode_blocks(path, scale=scale, on_corrupt=on_corrupt, block_seconds=long.seconds)
    with closing(blocks):
        for block in blocks:
            held.append(block)
            count += block.samples.shape[1]
            if count > long.seconds * block.sample_rate:
                return None
    decoded = join_blocks(printable(path), held)
    held.clear()
    loaded = to_one_channel(path, decoded, sample_rate=SAMPLE_RATE, resample=resample, channel=channel)
    full_scale, offset = scale_factor_offset(scale, decoded.subtype)
    seconds = len(loaded.waveform) / SAMPLE_RATE
    heard = hear(loaded.waveform, full_scale=full_scale, offset=offset, source=printable(path))
    notes = (*((loaded.loss,) if loaded.loss else ()), *loaded.notes, *heard.notes)
    return Recording(heard.waveform, heard.quality, notes, seconds, heard.parts.locate([(0.0, seconds)]))


def is_longer(path: str | os.PathLike[str], seconds: float) -> bool:
    """Whether a file is longer than some seconds, by its header, or does not state its length.

    Raises:
        FileNotFoundError, AudioError: as `voiceface.audio.loading.read_audio_info`.
    """
    return not 0 < read_audio_info(path).duration <= seconds


def load_recording(
    path: str | os.PathLike[str],
    *,
    scale: SampleScale,
    resample: bool = True,
    on_corrupt: OnCorrupt = "error",
    channel: ChannelChoice = "auto",
    long: LongRecordings = DEFAULT_LONG_RECORDINGS,
) -> Waveform:
    """Load a person's own recording as `read_recording` does, log its notes, and return the waveform alone.

    Returns:
        Shape (T,), float32.

    Raises:
        FileNotFoundError, AudioError: see `read_recording`.
    """
    recording = read_recording(
        path, scale=scale, resample=resample, on_corrupt=on_corrupt, channel=channel, long=long
    )
    for note in recording.notes:
        log.warning("%s: %s", printable(path), note)
    return recording.waveform


def _format_time(seconds: float) -> str:
    """Format as `1:02:03` or `2:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
