"""Files that pass for videos, and a step that reads them: who is seen, who speaks, and how the file fails."""

import json
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from voiceface.preparation.processing import end_with_parent
from voiceface.preparation.settings import VideoSettings
from voiceface.preparation.video_record import WorkFolder
from voiceface.preparation.video_step import SAMPLE_RATE, VideoTools, extract

HEAD = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2"
PROBE, STEP = "fake_videos:probe", "fake_videos:step"
NETWORKS = {"faces": "fake 1", "voices": "fake 1"}


def write_fake_video(path, speakers=(), *, seconds=60.0, seed=0, **more):
    """Speakers: dicts with `face` (identity), `start`, `end`; optionally `voice`, `problem`, `still`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        HEAD + json.dumps({"speakers": speakers, "seconds": seconds, "seed": seed, **more}).encode()
    )
    return path


def speaker(face, start, end, **more):
    """One track that speaks from its beginning to its end."""
    return {"face": face, "start": start, "end": end, **more}


def read(path):
    return json.loads(Path(path).read_bytes()[len(HEAD) :])


def probe(path):
    """Duration; a file may be damaged here."""
    content = read(path)
    if content.get("fails") == "probe":
        raise ValueError(f"{path}: holds no pictures; give a video")
    return {"seconds": content["seconds"]}


def step(path, place, settings, device, parent):
    """Prepare a fake video, or fail as it says."""
    end_with_parent(parent)
    content = read(path)
    if content.get("fails") == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(content.get("sleep", 0.0))
    made = extract(Path(path), fake_tools(), VideoSettings(**settings))
    WorkFolder.write(
        Path(place), made.record, made.images, made.clips, made.faces, made.voices, made.fingerprints
    )
    return {"clips": len(made.clips)}


def fake_tools():
    """Faces and voices whose embeddings are their identity, with a little that is their own."""
    return VideoTools(find_faces, read_sound, attribute, embed_faces, embed_voice, check_clip)


def find_faces(path, max_images):
    content = read(path)
    tracks = [
        SimpleNamespace(
            shot=0,
            start=each["start"],
            end=each["end"],
            speech=speech(each),
            images=tuple(tracked(content["seed"], each, k, max_images) for k in range(max_images)),
        )
        for each in content["speakers"]
    ]
    info = SimpleNamespace(seconds=content["seconds"], width=320, height=240, frame_rate=25.0, has_sound=True)
    return SimpleNamespace(info=info, rate=25.0, cuts=(), tracks=tuple(tracks), damaged_frames=0)


def tracked(seed, each, k, count):
    """Picture k of a track: a pattern of its own; the identity is the colour of the chip."""
    at = each["start"] + (k + 0.5) / count * (each["end"] - each["start"])
    which = 0 if each.get("still") else k  # a head that does not move gives the same picture again and again
    rng = np.random.default_rng([seed, round(1000 * each.get("shown", each["start"])), which, each["face"]])
    coarse = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
    picture = coarse.repeat(16, 0).repeat(16, 1)
    points = np.array([[50, 50], [78, 50], [64, 70], [52, 88], [76, 88]], np.float32)
    chip = np.full((150, 150, 3), (each["face"], int(rng.integers(256)), 0), np.uint8)
    problems = (each["problem"],) if each.get("problem") else ()
    face = SimpleNamespace(
        points=points,
        quality=SimpleNamespace(problems=problems),
        encoder_chip=lambda picture: chip,
    )
    return SimpleNamespace(time=at, picture=picture, face=face)


def read_sound(path):
    """Every voice is a tone of its own whose level changes at random."""
    content = read(path)
    wave = np.zeros(round(content["seconds"] * SAMPLE_RATE), np.float32)
    for each in content["speakers"]:
        begin, end = (round(at * SAMPLE_RATE) for at in speech(each))
        rng = np.random.default_rng([content["seed"], round(1000 * each.get("said", each["start"]))])
        seconds = np.arange(end - begin) / SAMPLE_RATE
        marks = np.arange(0, seconds[-1] + 0.2, 0.1)
        level = 0.3 * np.interp(seconds, marks, rng.uniform(0, 1, len(marks)))
        tone = np.sin(2 * np.pi * frequency(each.get("voice", each["face"])) * seconds)
        wave[begin:end] = level * tone
    return wave


def speech(each):
    """Beginning and end of what a speaker says."""
    return each.get("speaks", (each["start"], each["end"]))


def frequency(voice):
    return 200.0 + 40.0 * voice


def attribute(wave, faces, settings):
    """All speech is attributed, but for speakers that nobody sees."""
    return [
        SimpleNamespace(
            segment=SimpleNamespace(start=track.speech[0], end=track.speech[1]),
            track=number,
            correlation=0.8,
            margin=0.5,
            reason="",
        )
        for number, track in enumerate(faces.tracks)
    ]


def embed_faces(chips):
    rows = np.zeros((len(chips), 128), np.float32)
    rows[np.arange(len(chips)), chips[:, 0, 0, 0]] = 0.7
    rows[:, 127] = chips[:, 0, 0, 1] / 2560.0
    return rows


def embed_voice(wave):
    spectrum = np.abs(np.fft.rfft(wave))
    if not spectrum.any():
        raise ValueError("the recording: has no voice; record it again")
    voice = round((np.argmax(spectrum) * SAMPLE_RATE / len(wave) - 200) / 40)
    row = np.full(256, 0.01, np.float32)
    row[voice] = 1
    return row / np.linalg.norm(row)


def check_clip(wave):
    if not wave.any():
        raise ValueError("the clip: is silent; record it again")
