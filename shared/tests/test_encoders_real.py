"""The real encoders with random weights in a cache of the test."""

from pathlib import Path

import numpy as np
import pytest
import torch
from disc_faces import disc_finder, disc_picture
from PIL import Image
from sound_files import RATE, speech_like
from voiceface.audio.loading import write_wav
from voiceface.audio.vad import SpeechError
from voiceface.encoders import load_encoder
from voiceface.encoders.alignment import AligningReader
from voiceface.encoders.registry import list_encoders
from voiceface.faces.crops import CROP_CONVENTIONS, ENCODER_CHIP, crop_face
from voiceface.faces.own_face import OwnFace, describe_face
from voiceface.faces.own_pictures import PictureReader
from voiceface.io.long_recordings import LongRecordings
from voiceface.real.catalogue import MODELS
from voiceface.real.face_encoder import align_faces, load_face_encoder
from voiceface.real.installation import HOME_VARIABLE, MissingModelError, write_model_folder
from voiceface.real.networks import build_network
from voiceface.real.voice_encoder import load_voice_encoder, prepare_voice


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """All networks with random weights."""
    home = tmp_path_factory.mktemp("home")
    for number, (name, model) in enumerate(MODELS.items()):
        torch.manual_seed(number)
        folder = home / "models" / name
        folder.mkdir(parents=True)
        write_model_folder(model, dict(build_network(name).state_dict()), folder)
    return home


@pytest.fixture
def installed(cache, monkeypatch):
    monkeypatch.setenv(HOME_VARIABLE, str(cache))
    return cache


def voice(seconds, seed=0):
    wave = np.float32(speech_like(seconds)) / 32768
    return wave * np.float32(1 + 0.1 * seed)


def test_voices_are_encoded_as_voiceface_real_does(installed):
    encoder, original = load_encoder("real", "voice"), load_voice_encoder()
    waves = [voice(3), voice(5), voice(3, 1), voice(0.9)]
    found = encoder.encode(waves)
    np.testing.assert_allclose(found, original.embed(waves), atol=1e-5)
    assert encoder.info.trained_on == ("librispeech", "voxceleb1", "voxceleb2")
    assert encoder.info.licence == MODELS["voice_encoder"].licence
    assert encoder.prepare(waves[1]).shape[1:] == (160, 40)


def test_voices_without_speech_pass_from_data_folders_alone(installed, tmp_path):
    encoder = load_encoder("real", "voice")
    noise = np.random.default_rng(0).normal(size=2 * RATE) * 3
    with pytest.raises(SpeechError):
        prepare_voice(np.float32(noise) / 32768)
    write_wav(tmp_path / "noise.wav", np.int16(noise))
    assert encoder.load_file(tmp_path / "noise.wav").shape == (2, 160, 40)
    with pytest.raises(ValueError, match="noise"):
        encoder.load_own(tmp_path / "noise.wav")
    with pytest.raises(SpeechError):
        encoder.prepare(np.zeros(RATE, np.float32))


def test_the_windows_of_a_long_recording_are_averaged(installed, tmp_path):
    encoder = load_encoder("real", "voice")
    write_wav(tmp_path / "long.wav", np.int16(speech_like(25)))
    encoder.long_recordings = LongRecordings("all", 12)
    found = encoder.encode(tmp_path / "long.wav")
    assert found.shape == (1, 256) and 0.5 < np.linalg.norm(found) <= 1 + 1e-5
    encoder.long_recordings = LongRecordings("best", 12)
    assert not np.allclose(encoder.encode(tmp_path / "long.wav"), found)


def test_own_pictures_are_aligned_by_the_mesh(installed, tmp_path):
    picture = disc_picture([("red", 60, 70, 30, 0), ("green", 170, 75, 45, 0)])
    Image.fromarray(picture).save(tmp_path / "photo.png")
    encoder = load_encoder("real", "face")
    encoder.use_pictures(PictureReader("always", finder=disc_finder()))
    faces = disc_finder().find([picture])[0]
    chips = np.stack([align_faces(picture, face.encoder_points[None]).chips[0] for face in faces])
    expected = load_face_encoder().embed(chips)
    np.testing.assert_allclose(encoder.encode(tmp_path / "photo.png")[0], expected[0], atol=1e-4)
    inputs, facts = encoder.load_own(tmp_path / "photo.png")
    assert np.array_equal(inputs, chips[0].transpose(2, 0, 1)) and facts.face.faces_in_picture == 2


def test_a_chip_is_the_same_when_the_face_was_found_by_another_reader(tmp_path):
    picture = disc_picture([("blue", 128, 70, 50, 0)])
    Image.fromarray(picture).save(tmp_path / "photo.png")
    readers = [
        AligningReader(PictureReader("always", finder=disc_finder()), ENCODER_CHIP, by_mesh=True)
        for _ in range(2)
    ]
    (face,) = readers[0].read_faces(tmp_path / "photo.png")
    assert np.array_equal(readers[0].load(face), readers[1].load(face))


def test_a_face_of_a_video_which_is_cut_out_otherwise_is_aligned_again(installed, monkeypatch):
    picture = disc_picture([("blue", 128, 70, 50, 0)])
    (face,) = disc_finder().find([picture])[0]
    encoder = load_encoder("real", "face")
    monkeypatch.setattr(encoder._data_pictures, "_finder", disc_finder())
    of_video, of_photo = (
        OwnFace("a", Path("a"), describe_face("a", face, crop="population", time=time))
        for time in (1.5, None)
    )
    aligned = align_faces(picture, face.encoder_points[None]).chips[0].transpose(2, 0, 1)
    assert np.array_equal(encoder.prepare_face(picture, of_video), aligned)
    assert not np.array_equal(encoder.prepare_face(picture, of_photo), aligned)


def test_never_uses_the_picture_as_it_is(installed, tmp_path):
    chip = np.random.default_rng(0).integers(0, 255, (150, 150, 3)).astype(np.uint8)
    Image.fromarray(chip).save(tmp_path / "chip.png")
    encoder = load_encoder("real", "face")
    encoder.use_pictures(PictureReader("never"))
    assert np.array_equal(encoder.load_own(tmp_path / "chip.png")[0], chip.transpose(2, 0, 1))


def test_faces_of_data_folders_that_are_not_found_lie_where_such_faces_lie(installed, tmp_path):
    picture = np.full((128, 128, 3), 90, np.uint8)
    picture[40:60, 30:80] = 200
    for folder, convention in (("VGG_ALL_FRONTAL", "vggface_frontal"), ("population", "population")):
        (tmp_path / folder / "A").mkdir(parents=True)
        if convention == "population":
            (tmp_path / folder / "truth").mkdir()
            (tmp_path / folder / "truth" / "population.json").write_text("{}")
        Image.fromarray(picture).save(tmp_path / folder / "A" / "1.png")
        encoder = load_encoder("real", "face")
        points = np.array(CROP_CONVENTIONS[convention].points) * 128 - 0.5
        expected = crop_face(picture, points, ENCODER_CHIP).transpose(2, 0, 1)
        assert np.array_equal(encoder.load_file(tmp_path / folder / "A" / "1.png"), expected)


def test_what_is_missing_is_said_with_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "empty"))
    for modality in ("voice", "face"):
        with pytest.raises(MissingModelError, match="`voiceface models get real`"):
            load_encoder("real", modality)
    missing = [each for each in list_encoders() if each.name == "real"]
    assert [each.installed for each in missing] == [False, False]
    assert all("voiceface models get real" in each.hint for each in missing)


def test_the_face_encoder_needs_what_finds_faces(cache, tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "face_encoder").symlink_to(cache / "models" / "face_encoder")
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    with pytest.raises(MissingModelError, match="Face detector"):
        load_encoder("real", "face")


def test_equal_fingerprints_for_equal_weights_and_ways(installed):
    first, second = load_encoder("real", "face"), load_encoder("real", "face")
    assert first.fingerprint == second.fingerprint != load_face_encoder().network.fingerprint
    assert load_encoder("real", "voice").fingerprint == load_voice_encoder().network.fingerprint
