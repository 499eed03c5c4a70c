"""Leak guard: whose figures are contaminated by the training people of an encoder."""

from dataclasses import replace

import pytest
from voiceface.datasets.identities import Identity
from voiceface.encoders.interface import EncoderInfo
from voiceface.encoders.overlap import recognise_datasets, training_overlap
from voiceface.real.catalogue import MODELS
from voiceface.synthetic.identities import face_name, voice_id

VOICE = EncoderInfo("real", "voice", 256, trained_on=MODELS["voice_encoder"].trained_on)
FACE = EncoderInfo("real", "face", 128, trained_on=MODELS["face_encoder"].trained_on)
VOXCELEB1 = [Identity(f"Name_{k}", f"id1{k:04d}", f"Name_{k}") for k in range(20)]
OWN = [Identity(f"Person {k}", f"Person {k}", f"Person {k}") for k in range(20)]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("voxceleb1", ("voxceleb1", "vggface")),
        ("VoxCeleb2_dev", ("voxceleb2", "vggface2")),
        ("vox1", ("voxceleb1", "vggface")),
        ("vgg_face2", ("vggface2",)),
        ("VGGFace", ("vggface",)),
        ("LibriSpeech", ("librispeech",)),
        ("mav-celeb", ("mavceleb",)),
        ("holiday videos", ()),
        ("voice1", ()),
    ],
)
def test_data_sets_are_recognised_by_name(name, found):
    assert recognise_datasets(name) == found


def test_data_sets_are_recognised_by_the_ids_of_their_people():
    assert recognise_datasets("", VOXCELEB1) == ("voxceleb1", "vggface")
    assert recognise_datasets("data", ["id00012", "id09999"]) == ("voxceleb2", "vggface2")
    assert recognise_datasets("data", [*VOXCELEB1[:5], *OWN]) == ()
    assert recognise_datasets("data", ["id0001", "id12345", "id20000"]) == ()


def test_synthetic_people_are_not_those_of_voxceleb1():
    people = [Identity(face_name(k), voice_id(k), face_name(k)) for k in range(20)]
    assert recognise_datasets("voxceleb1", people) == ("population",)
    assert recognise_datasets("", [each.name for each in people]) == ("population",)
    bundled = replace(VOICE, name="cmpc2", trained_on=("population",))
    unknown = EncoderInfo("onnx:x.onnx", "voice", 192)
    assert training_overlap([VOICE, FACE, bundled, unknown], "data", people) == []
    (sentence,) = training_overlap([replace(bundled, identities=(face_name(3),))], "data", people)
    assert "1 of the 20" in sentence


def test_both_real_encoders_know_the_people_of_voxceleb1():
    voice, face = training_overlap([VOICE, FACE], "data", VOXCELEB1)
    assert voice.startswith("The voice encoder real was trained on VoxCeleb1") and "voice features" in voice
    assert face.startswith("The face encoder real was trained on VGGFace") and "contaminated" in face


def test_people_of_ones_own_and_mavceleb_are_not_contaminated():
    assert training_overlap([VOICE, FACE], "holiday videos", OWN) == []
    assert training_overlap([VOICE, FACE], "mavceleb") == []
    assert training_overlap([VOICE, FACE], "LibriSpeech") == training_overlap([VOICE], "LibriSpeech") != []


def test_identities_that_a_checkpoint_names_are_counted():
    encoder = replace(
        VOICE, name="cmpc2", trained_on=("population",), identities=("Person 3", "Person 1", "X")
    )
    (sentence,) = training_overlap([encoder], "data", OWN)
    assert "2 of the 20 evaluated people (Person 1, Person 3)" in sentence
    assert training_overlap([encoder], "data", OWN[4:]) == []


def test_of_an_unknown_encoder_public_people_are_doubtful():
    unknown = EncoderInfo("onnx:x.onnx", "voice", 192)
    (sentence,) = training_overlap([unknown, unknown], "voxceleb1")
    assert sentence.startswith("It is not known on whom the voice encoder onnx:x.onnx was trained")
    assert training_overlap([unknown], "holiday videos", OWN) == []
