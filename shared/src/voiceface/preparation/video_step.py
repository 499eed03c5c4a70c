"""What is taken out of one video: crops of the faces that speak, clips of their speech, embeddings of both.

`extract` works on whatever finds, attributes and embeds, so that it can be tested without networks;
`run_job` is what worker processes call.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voiceface.datasets.near_duplicates import compute_fingerprint, hash_picture
from voiceface.preparation.settings import PreparationError, VideoSettings
from voiceface.preparation.video_record import (
    ClipRecord,
    ImageRecord,
    TrackRecord,
    UnusedSpeech,
    VideoRecord,
    WorkFolder,
)

if TYPE_CHECKING:
    from voiceface.videos.active_speaker import Attribution
    from voiceface.videos.tracks import VideoFaces

__all__ = [
    "MAX_GAP",
    "SAMPLE_RATE",
    "SILENT_TRACK",
    "Extraction",
    "SpeechPiece",
    "VideoTools",
    "cut_pieces",
    "extract",
    "load_tools",
    "probe_job",
    "run_job",
]

Wave = NDArray[np.float32]
SAMPLE_RATE = 16000
MAX_GAP = 0.5
"""Seconds between two pieces of speech of one track that are joined to one clip, if nobody speaks between."""
SILENT_TRACK = "does not speak"


@dataclass(frozen=True)
class VideoTools:
    """What finds, attributes and embeds.

    Attributes:
        find_faces: video to face tracks, with at most the given number of images each.
        read_sound: video to its sound at 16 kHz, on the clock of the images.
        attribute: sound and face tracks to who speaks when, with the shortest and longest clip.
        embed_faces: chips (N, 150, 150, 3) to (N, 128).
        embed_voice: clip (T,) to (256,); a ValueError where it finds no voice.
        check_clip: raises a ValueError for a clip that is silent or noise.
    """

    find_faces: Callable[[Path, int], VideoFaces]
    read_sound: Callable[[Path], Wave]
    attribute: Callable[[Wave, VideoFaces, VideoSettings], Sequence[Attribution]]
    embed_faces: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    embed_voice: Callable[[Wave], NDArray[np.float32]]
    check_clip: Callable[[Wave], None]


@dataclass(frozen=True)
class SpeechPiece:
    """A part of the sound in which the person of a track speaks.

    Attributes:
        track: number of the track.
        start: seconds from the beginning of the video.
        end: the same.
        correlation: agreement of the mouth with the sound, -1...1; of joined parts their mean, weighted by
            duration.
    """

    track: int
    start: float
    end: float
    correlation: float


@dataclass(frozen=True)
class Extraction:
    """What was taken out of one video, in memory.

    Attributes:
        record: names the N images and M clips.
        images: crops, (S, S, 3) uint8 RGB each, in the order of the tracks.
        clips: (T,) int16 at 16 kHz each, by time.
        faces: embeddings of the images, (N, 128).
        voices: embeddings of the clips, (M, 256).
        fingerprints: of the clips, (frames, 16) each.
    """

    record: VideoRecord
    images: list[NDArray[np.uint8]]
    clips: list[NDArray[np.int16]]
    faces: NDArray[np.float32]
    voices: NDArray[np.float32]
    fingerprints: list[NDArray[np.float16]]


def cut_pieces(
    attributions: Sequence[Attribution], settings: VideoSettings
) -> tuple[list[SpeechPiece], list[UnusedSpeech]]:
    """Join the speech of a track across short gaps up to the longest clip, and cut what is longer.

    Args:
        attributions: in any order.
        settings: shortest and longest clip.

    Returns:
        (pieces by time, speech without a clip).
    """
    pieces: list[SpeechPiece] = []
    unused: list[UnusedSpeech] = []
    joined: list[SpeechPiece] = []
    barrier = -np.inf  # end of the last speech that belongs to nobody
    for each in sorted(attributions, key=lambda item: (item.segment.start, item.segment.end)):
        start, end = float(each.segment.start), float(each.segment.end)
        if each.track is None:
            unused.append(UnusedSpeech(_milliseconds(start), _milliseconds(end), each.reason))
            barrier = end
            continue
        last = joined[-1] if joined else None
        follows = last is not None and last.track == each.track and start - last.end <= MAX_GAP
        fits = last is not None and end - last.start <= settings.max_clip_seconds
        if last is not None and follows and fits and barrier <= last.end:
            weight = (end - start) / max(end - last.start, 1e-6)
            mean = (1 - weight) * last.correlation + weight * float(each.correlation)
            joined[-1] = SpeechPiece(each.track, last.start, max(end, last.end), mean)
        else:
            joined.append(SpeechPiece(each.track, start, end, float(each.correlation)))
    for piece in joined:
        length = piece.end - piece.start
        if length < settings.min_clip_seconds:
            reason = f"shorter than {settings.min_clip_seconds:g} s"
            unused.append(
                UnusedSpeech(_milliseconds(piece.start), _milliseconds(piece.end), reason, piece.track)
            )
            continue
        edges = np.linspace(piece.start, piece.end, int(np.ceil(length / settings.max_clip_seconds)) + 1)
        pieces += [
            SpeechPiece(piece.track, float(a), float(b), piece.correlation)
            for a, b in itertools.pairwise(edges)
        ]
    return pieces, sorted(unused, key=lambda each: (each.start, each.end))


def extract(path: Path, tools: VideoTools, settings: VideoSettings) -> Extraction:
    """Take images, clips and embeddings out of a video.

    Args:
        path: the video.
        tools: what finds, attributes and embeds.
        settings: what is taken.

    Raises:
        ValueError: the video or its sound cannot be read; names file, finding and remedy.
    """
    from voiceface.faces.crops import crop_face

    found = tools.find_faces(path, settings.images_per_track)
    wave = np.asarray(tools.read_sound(path), np.float32)
    pieces, unused = cut_pieces(tools.attribute(wave, found, settings), settings)
    clips: list[NDArray[np.int16]] = []
    clip_records: list[ClipRecord] = []
    voices: list[NDArray[np.float32]] = []
    fingerprints: list[NDArray[np.float16]] = []
    for piece in pieces:
        start, end = _milliseconds(piece.start), _milliseconds(piece.end)
        part = wave[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
        try:
            tools.check_clip(part)
            voice = tools.embed_voice(part)
        except ValueError as error:
            unused.append(UnusedSpeech(start, end, _reason(error), piece.track))
            continue
        pcm = np.clip(np.rint(part * 32767), -32768, 32767).astype(np.int16)
        prints = compute_fingerprint(part)
        name = f"{round(start * 1000):08d}-{round(end * 1000):08d}.wav"
        correlation = round(piece.correlation, 4)
        clip_records.append(ClipRecord(name, piece.track, start, end, correlation, len(prints)))
        clips.append(pcm)
        voices.append(np.asarray(voice, np.float32))
        fingerprints.append(prints)
    speaking = {record.track for record in clip_records}
    images: list[NDArray[np.uint8]] = []
    chips: list[NDArray[np.uint8]] = []
    tracks: list[TrackRecord] = []
    for number, track in enumerate(found.tracks):
        records: list[ImageRecord] = []
        for rank, tracked in enumerate(track.images if number in speaking else ()):
            crop = crop_face(tracked.picture, tracked.face.points, settings.convention, settings.image_size)
            images.append(crop)
            chips.append(tracked.face.encoder_chip(tracked.picture))
            problems = list(tracked.face.quality.problems)
            name = f"{number:04d}_{rank:02d}.png"
            time = _milliseconds(tracked.time)
            records.append(ImageRecord(name, time, f"{hash_picture(crop):016x}", problems))
        start, end = _milliseconds(track.start), _milliseconds(track.end)
        tracks.append(TrackRecord(int(track.shot), start, end, records))
    faces = tools.embed_faces(np.stack(chips)) if chips else np.zeros((0, 128), np.float32)
    record = VideoRecord(
        seconds=_milliseconds(found.info.seconds),
        width=int(found.info.width),
        height=int(found.info.height),
        frame_rate=round(float(found.info.frame_rate), 3),
        damaged_frames=int(found.damaged_frames),
        cuts=[_milliseconds(cut) for cut in found.cuts],
        tracks=tracks,
        clips=clip_records,
        unused=unused,
    )
    stacked = np.stack(voices) if voices else np.zeros((0, 256), np.float32)
    return Extraction(record, images, clips, np.asarray(faces, np.float32), stacked, fingerprints)


def load_tools(backend: str, device: str) -> VideoTools:
    """Load the networks; one thread, so that results do not depend on the machine.

    Raises:
        voiceface.real.installation.MissingModelError: they were not fetched.
    """
    import cv2
    import torch

    from voiceface.audio.recordings import measure_quality, require_speech
    from voiceface.faces.finding import load_face_finder
    from voiceface.real.face_encoder import load_face_encoder
    from voiceface.real.voice_encoder import load_voice_encoder
    from voiceface.videos.active_speaker import SpeakerSettings, SpeechLengths, attribute_speech
    from voiceface.videos.sound import read_sound
    from voiceface.videos.tracks import find_face_tracks

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    choice: Any = backend
    finder = load_face_finder(choice, device)
    face_encoder, voice_encoder = load_face_encoder(choice, device), load_voice_encoder(choice, device)
    return VideoTools(
        find_faces=lambda path, count: find_face_tracks(path, finder, max_images=count),
        read_sound=read_sound,
        attribute=lambda wave, faces, chosen: attribute_speech(
            wave,
            faces,
            SpeakerSettings(
                lengths=SpeechLengths(
                    min_seconds=chosen.min_clip_seconds, max_seconds=chosen.max_clip_seconds
                )
            ),
        ),
        embed_faces=face_encoder.embed,
        embed_voice=lambda wave: voice_encoder.embed([wave])[0],
        check_clip=lambda wave: require_speech(measure_quality(wave), "the clip"),
    )


def probe_job(path: str) -> dict[str, Any]:
    """Duration of a video, for worker processes.

    Args:
        path: the video.

    Returns:
        {"seconds": duration}.

    Raises:
        FileNotFoundError: no such file.
        voiceface.videos.containers.VideoError: it cannot be read or has no images; a ValueError.
        PreparationError: it has no sound; a ValueError.
    """
    from voiceface.videos.decoding import probe_video

    info = probe_video(path)
    if not info.has_sound:
        raise PreparationError(f"{path}: has no sound; expected a video in which people speak")
    return {"seconds": info.seconds}


def run_job(path: str, place: str, settings: dict[str, Any], device: str) -> dict[str, Any]:
    """Prepare one video and write its folder, in a worker process.

    Args:
        path: the video.
        place: folder to write, see `WorkFolder`.
        settings: fields of `VideoSettings`.
        device: for PyTorch.

    Returns:
        Counts of tracks and clips.

    Raises:
        ValueError: the video cannot be used.
        OSError: the folder cannot be written.
    """
    chosen = VideoSettings(**settings)
    key = (chosen.backend, device)
    if key not in _loaded:
        _loaded[key] = load_tools(*key)
    made = extract(Path(path), _loaded[key], chosen)
    WorkFolder.write(
        Path(place), made.record, made.images, made.clips, made.faces, made.voices, made.fingerprints
    )
    return {"tracks": len(made.record.tracks), "clips": len(made.clips)}


_loaded: dict[tuple[str, str], VideoTools] = {}


def _milliseconds(seconds: float) -> float:
    return round(float(seconds), 3)


def _reason(error: ValueError) -> str:
    """Reason why a clip is not used, without the name that its reader gave it."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return text.removeprefix("the clip: ").removeprefix("the recording: ").partition("; ")[0]
