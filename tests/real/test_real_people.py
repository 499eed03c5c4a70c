"""Real voices of 51 speakers (Debian's packages) and real pictures are told apart, other things refused."""

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from debian_packages import LANDSCAPES, MUSIC, SPEECH, PackagesUnavailableError, fetch_packages, find_speakers
from numpy.typing import NDArray
from verification_tables import compare_faces, compare_voices, cut_clips, format_rows
from voiceface.audio.loading import load_audio, write_wav
from voiceface.audio.recordings import read_recording
from voiceface.audio.samples import AudioError
from voiceface.faces.finding import load_face_finder
from voiceface.images.photographs import load_photograph

Wave = NDArray[np.float32]
RATE = 16000
DOGS = "friends_by_Aitzol_Berasategi.jpg"  # which look into the camera
NOISES = ("white", "pink", "brown", "clicks", "hum", "tone", "sweep", "wind", "chord")


@pytest.fixture(scope="session")
def packages(request: pytest.FixtureRequest) -> Path:
    """Folder of the unpacked packages."""
    folder = request.config.getoption("--packages")
    if folder is None:
        pytest.skip("the session `nox -s real` keeps Debian's packages; else give --packages FOLDER")
    try:
        fetch_packages(folder, SPEECH + MUSIC + LANDSCAPES)
    except PackagesUnavailableError as error:
        pytest.skip(str(error))
    return folder


@pytest.fixture(scope="session")
def voices(packages: Path) -> tuple[list[str], list[Wave]]:
    """Speaker and clip of 5 s."""
    logging.getLogger("voiceface").setLevel(logging.ERROR)
    return cut_clips(find_speakers(fetch_packages(packages, SPEECH)))


def as_pcm(wave: Wave) -> NDArray[np.int16]:
    return np.clip(np.rint(wave * 32768), -32768, 32767).astype(np.int16)


def make_noise(kind: str, rng: np.random.Generator) -> Wave:
    """Five seconds that hold no voice."""
    time = np.arange(5 * RATE) / RATE
    white = rng.normal(size=len(time))
    if kind in ("pink", "brown", "wind"):
        spectrum = np.fft.rfft(white) / np.maximum(np.arange(len(time) // 2 + 1), 8.0) ** (
            0.5 if kind == "pink" else 1
        )
        white = np.fft.irfft(spectrum, len(time))
    if kind == "wind":
        white = white * (1 + np.sin(2 * np.pi * rng.uniform(0.2, 3) * time + rng.uniform(0, 6)))
    if kind == "clicks":
        white = white * (rng.random(len(time)) < rng.uniform(2, 50) / RATE)
    pitch = rng.uniform(100, 900)
    if kind == "hum":
        white = 0.01 * white + sum(
            np.sin(2 * np.pi * k * rng.choice([50, 60]) * time) / k for k in range(1, 9)
        )
    if kind == "tone":
        white = np.sin(2 * np.pi * pitch * time)
    if kind == "sweep":
        white = np.sin(2 * np.pi * pitch * time * (1 + rng.uniform(0.1, 2) * time))
    if kind == "chord":
        tones = [np.sin(2 * np.pi * pitch * ratio * time) for ratio in (1, 1.25, 1.5, 2)]
        white = sum(tones) * np.exp(-(time % rng.uniform(0.3, 1.2)) * 4)
    loudest = np.abs(white).max()
    return (white / max(loudest, 1e-9) * rng.uniform(0.05, 0.9)).astype(np.float32)


@pytest.fixture(autouse=True)
def silero(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate as where silero is installed; other tests use the detector that is always there."""
    monkeypatch.setenv("VOICEFACE_SPEECH_FINDER", "silero")


def is_used(path: Path, wave: Wave) -> bool:
    """Whether the gate for people's own recordings lets a recording through."""
    write_wav(path, as_pcm(wave))
    try:
        read_recording(path, scale="unit")
    except AudioError:
        return False
    return True


def test_nearly_all_real_voices_are_used(voices: tuple[list[str], list[Wave]], tmp_path: Path):
    refused = [name for name, wave in zip(*voices) if not is_used(tmp_path / "voice.wav", wave)]
    print(f"\n{len(refused)} of {len(voices[0])} clips of real voices are refused: {refused}")
    assert len(set(voices[0])) == 51
    assert len(refused) <= 0.01 * len(voices[0])


def test_noise_and_music_are_not_used(packages: Path, num_inputs: int, tmp_path: Path):
    rng, used, tried = np.random.default_rng(0), [], 0
    for number in range(num_inputs):
        kind = NOISES[number % len(NOISES)]
        tried += 1
        if is_used(tmp_path / "noise.wav", make_noise(kind, rng)):
            used.append(kind)
    pieces = []
    for path in sorted(fetch_packages(packages, MUSIC)[MUSIC[0]].rglob("*.wav")):
        wave = load_audio(path, scale="unit", sample_rate=RATE, resample=True)
        pieces += [(path.name, wave[at : at + 5 * RATE]) for at in range(0, len(wave) - 5 * RATE, 5 * RATE)]
    for number in rng.permutation(len(pieces))[: max(num_inputs, 40)]:
        tried += 1
        if is_used(tmp_path / "music.wav", pieces[number][1]):
            used.append(pieces[number][0])
    print(f"\n{len(used)} of {tried} recordings without a voice are used: {used}")
    assert not used


def test_landscapes_things_and_textures_have_no_face(packages: Path, num_inputs: int):
    """All but one picture: a dog's face counts as one now and then, and the figure says how often."""
    finder, rng, crops, names = load_face_finder("onnxruntime"), np.random.default_rng(0), [], []
    folders = fetch_packages(packages, LANDSCAPES).values()
    paths = sorted(path for root in folders for path in root.rglob("*.jpg"))
    pictures = [
        cv2.resize(image, None, fx=1000 / image.shape[1], fy=1000 / image.shape[1])
        for image in map(load_photograph, paths)
    ]
    for number in range(num_inputs):
        image = pictures[number % len(pictures)]
        side = int(min(image.shape[:2]) * rng.uniform(0.1, 1))
        top, left = (int(rng.integers(0, length - side + 1)) for length in image.shape[:2])
        if side >= 80:
            crops.append(image[top : top + side, left : left + side])
            names.append(paths[number % len(pictures)].name)
    crops, names = crops + pictures, names + [path.name for path in paths]
    found = [name for name, faces in zip(names, finder.find(crops)) if faces]
    print(f"\nfaces found in {len(found)} of {len(crops)} pictures without people: {found}")
    assert len(crops) > 19 and names.count(DOGS) > 1
    assert set(found) <= {DOGS}
    assert len(found) <= max(1, 0.005 * len(crops))


def test_the_voice_encoder_tells_speakers_apart_and_the_bundled_weights_less_so(
    voices: tuple[list[str], list[Wave]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("VOICEFACE_SPEECH_FINDER", "pitch")  # which refuses none of the clips
    people, clips = voices
    rows = compare_voices(people, clips, tmp_path)
    print(f"\n{len(clips)} clips of {len(set(people))} speakers\n{format_rows(rows)}")
    assert rows[0].eer < 0.05
    assert rows[0].nearest > 0.95
    assert rows[0].eer < min(row.eer for row in rows[1:])
    assert rows[1].title.startswith("fop") and rows[1].eer < 0.1


def test_the_bundled_weights_tell_real_faces_apart_less_well(samples: Path):
    paths = sorted((samples / "voicestyle" / "VGG_ALL_FRONTAL").glob("*/*.jpg"))
    if not paths:
        pytest.skip("no pictures of real people at hand: VOICEFACE_SAMPLES names their folder")
    rows = compare_faces(paths)
    print(f"\n{len(paths)} pictures of {len({path.parent for path in paths})} people\n{format_rows(rows)}")
    assert rows[0].eer == 0
    assert all(row.eer < 0.1 for row in rows if row.title.startswith("fop"))
    assert all(0.1 < row.eer < 0.5 for row in rows[1:] if not row.title.startswith("fop"))
