"""A person's own recordings: one channel at 16 kHz, measured; silence and noise reach no network.

Data folders are read by `voiceface.audio.loading.load_audio`, without a gate.
"""

import logging
import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass

import numpy as np

from voiceface.audio.channels import ChannelChoice
from voiceface.audio.decoding import decode_blocks, join_blocks
from voiceface.audio.loading import read_audio_info, to_one_channel
from voiceface.audio.long_recordings import (
    RecordingStream,
    choose_best,
    join_stretches,
    rate_window,
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
from voiceface.io.file_facts import FileFacts
from voiceface.io.file_kinds import printable
from voiceface.io.long_recordings import DEFAULT_LONG_RECORDINGS, LongRecordings

__all__ = [
    "MIN_SECONDS",
    "MIN_SPEECH_SECONDS",
    "LongRecordings",
    "Recording",
    "RecordingQuality",
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


@dataclass(frozen=True, eq=False)
class Recording:
    """A person's own recording, ready for a front end.

    Attributes:
        waveform: (T,), float32, 16 kHz, in the scale that was asked for.
        quality: measurements.
        notes: sentences about what makes a result doubtful, and about peculiarities of the file, without its
            name; empty for most. Words before a first colon say it in short.
        seconds: duration of the file; of a long one a part is used.
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

    Nothing is logged: the notes are returned. Of a recording longer than `long.seconds`, the best part is
    used by default, and memory does not grow with its length. With `long.policy` "all" the waveform is the
    whole recording, 230 MB an hour; `use_windows` passes it on in windows.

    Args:
        path: any file that `voiceface.audio.loading.decode_audio` reads.
        scale: see there. With "native" the values are judged by the full scale of the file's sample format.
        resample: convert other rates instead of refusing them.
        on_corrupt: see `decode_audio`.
        channel: see `voiceface.audio.channels.mix_channels`.
        long: what is used of a long recording.
        best_seconds: what the network takes of a recording: the first so many seconds. Of a long one "best"
            chooses so much; of another one in whose first seconds nobody speaks, the waveform begins later.

    Raises:
        FileNotFoundError: no such file.
        AudioError: as of `load_audio`; silence, noise, or too little speech.
    """
    found = _read_short(path, scale, resample, on_corrupt, channel, long, best_seconds)
    if found is not None:
        return found
    finder = choose_speech_finder()
    stream = RecordingStream(path, scale=scale, resample=resample, on_corrupt=on_corrupt, channel=channel)
    if long.policy == "best":
        waveform, stretches = choose_best(stream, min(long.seconds, best_seconds or long.seconds), finder)
        quality = measure_quality(stream.judged(waveform), full_scale=stream.full_scale, finder=finder)
        used = f"the best {len(waveform) / SAMPLE_RATE:.0f} s of speech are used"
    else:
        waveform, quality = read_all(stream, finder)
        stretches = ((0.0, stream.seconds),)
        used = "all of it is used"
    note = f"long: {_format_time(stream.seconds)}; {used}"
    name = printable(path)
    require_speech(quality, f"{name}: {note}" if long.policy == "best" else name)
    notes = (note, *stream.notes, *quality.notes)
    return Recording(waveform, quality, notes, stream.seconds, stretches)


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
        use: is called with every window that holds speech, (T,); the last one may be shorter.
        window_seconds: of a window.

    Returns:
        The measurements of the whole, with an empty waveform.

    Raises:
        FileNotFoundError, AudioError: as `read_recording`; no window holds speech.
    """
    finder = choose_speech_finder()
    stream = RecordingStream(path, scale=scale, resample=resample, on_corrupt=on_corrupt, channel=channel)
    qualities, stretches, count = [], [], 0
    for begin, window in stream.windows(window_seconds):
        quality = measure_quality(stream.judged(window), full_scale=stream.full_scale, finder=finder)
        qualities.append(quality)
        if quality.seconds >= MIN_SECONDS and quality.speech_seconds >= MIN_SPEECH_SECONDS:
            use(window)
            count += 1
            stretches.append((begin, begin + quality.seconds))
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
    heard_seconds: float | None,
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
    judged = loaded.waveform - np.float32(offset) if offset else loaded.waveform
    finder = choose_speech_finder()
    quality = measure_quality(judged, full_scale=full_scale, finder=finder)
    require_speech(quality, printable(path))
    losses = (loaded.loss,) if loaded.loss else ()
    notes = (*losses, *loaded.notes, *quality.notes)
    length = len(judged) if heard_seconds is None else round(heard_seconds * SAMPLE_RATE)
    first = _find_speech(judged, length, full_scale, finder)
    start = first / SAMPLE_RATE
    if first:
        notes = (f"nobody speaks at first: used from {start:.1f} s on", *notes)
    return Recording(loaded.waveform[first:], quality, notes, quality.seconds, ((start, quality.seconds),))


def _find_speech(waveform: Waveform, length: int, full_scale: float, finder: SpeechFinder) -> int:
    """First sample that a network of `length` samples hears: 0, or of the best part if nobody speaks then."""

    def measure(first: int) -> RecordingQuality:
        return measure_quality(waveform[first : first + length], full_scale=full_scale, finder=finder)

    if len(waveform) <= length or measure(0).speech_seconds >= MIN_SPEECH_SECONDS:
        return 0
    last = len(waveform) - length
    return max((*range(0, last, SAMPLE_RATE // 2), last), key=lambda first: rate_window(measure(first)))


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
