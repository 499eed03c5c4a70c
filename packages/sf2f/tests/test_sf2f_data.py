"""Data sources: HQ-VoxCeleb layout, written population, manifest, synthetic identities in memory."""

import json
import pickle
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sf2f.data import list_files, list_identities, open_speakers, synthetic_speakers
from sf2f.network_config import SpeechConfig
from sf2f.speakers import DataError
from sf2f.speech import compute_log_mel, read_recording, write_mel
from voiceface.audio.vad import SpeechError
from voiceface.datasets.identities import IdentityError

WHOLE = SpeechConfig(remove_silence=False)
SMALL = {"train": 3, "val": 1, "test": 2, "clips": 2, "clip_seconds": 1.0, "images": 2, "render_size": 16}


def features(value: float, frames: int = 7) -> np.ndarray:
    return np.full((40, frames), value, np.float32)


def write_identity(root: Path, corpus: str, name: str, value: float = 1.0, faces: str = "masked") -> None:
    """Write an identity with two utterances and one image."""
    place = root / corpus / "mel_spectrograms" / name
    write_mel(place / "id_a_00002.npz", features(value + 0.5), "id", "a", "00002")
    write_mel(place / "id_a_00001.npz", features(value), "id", "a", "00001")
    images = root / corpus / f"{faces}_faces" / name
    images.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 4), (int(value), 2, 3)).save(images / "1.png")


def write_layout(root: Path) -> Path:
    """Vox2 with Ann and Zoé, vox1 with Bob and Dan; Cy has no image folder, Eve is in no split."""
    for value, (corpus, name) in enumerate(
        [("vox2", "Ann"), ("vox2", "Zo\u00e9"), ("vox1", "Bob"), ("vox1", "Dan"), ("vox1", "Eve")], 1
    ):
        write_identity(root, corpus, name, value)
    write_mel(root / "vox1" / "mel_spectrograms" / "Cy" / "x.npz", features(9), "i", "c", "w")
    split = {
        "vox1": {"train": ["Dan", "Cy", "Bob"], "val": [], "test": []},
        "vox2": {"train": ["Zo\u00e9", "Ann", "Nobody"], "val": [], "test": []},
    }
    (root / "split.json").write_text(json.dumps(split))
    return root


def test_identities_with_both_folders_are_listed_by_corpus_and_name(tmp_path: Path) -> None:
    root = write_layout(tmp_path)
    expected = [("vox1", "Bob"), ("vox1", "Dan"), ("vox2", "Ann"), ("vox2", "Zo\u00e9")]
    assert list_identities(root, "train") == expected
    found = open_speakers(root, "train")
    assert list(zip(found.corpora, found.names)) == expected
    assert found.identity_names == ("vox1/Bob", "vox1/Dan", "vox2/Ann", "vox2/Zo\u00e9")
    assert found.load_mel(2, 0).tolist() == features(1).tolist() and found.load_mel(2, 1)[0, 0] == 1.5
    assert found.load_face(0, 0).shape == (4, 6, 3) and found.load_face(0, 0)[0, 0].tolist() == [3, 2, 3]
    assert found.ground_truth is None and not found.disclaimer and set(found.genders) == {""}


def test_folder_names_are_matched_after_unicode_normalisation(tmp_path: Path) -> None:
    root = write_layout(tmp_path)
    apart = unicodedata.normalize("NFD", "Zo\u00e9")
    for kind in ("mel_spectrograms", "masked_faces"):
        (root / "vox2" / kind / "Zo\u00e9").rename(root / "vox2" / kind / apart)
    assert open_speakers(root, "train").names[3] == "Zo\u00e9"


def test_metadata_gives_genders_and_face_variants_can_be_selected(tmp_path: Path) -> None:
    root = write_layout(tmp_path)
    table = "VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet\nid1\tBob\tm\tUSA\tdev\n"
    (root / "vox1" / "vox1_meta.csv").write_text(table)
    assert open_speakers(root, "train").genders == ("m", "", "", "")
    with pytest.raises(DataError, match="origin_faces"):
        open_speakers(root, "train", face_variant="origin")
    write_identity(root, "vox1", "Bob", 7, "origin")
    assert open_speakers(root, "train", face_variant="origin").names == ("Bob",)


def test_identities_without_a_folder_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    open_speakers(write_layout(tmp_path), "train")
    (message,) = caplog.messages
    assert message.startswith("2 of 6 identities of the split 'train'")
    assert message.endswith(": vox1/Cy, vox2/Nobody") and "*/masked_faces" in message


def test_images_without_features_name_the_command_that_computes_them(tmp_path: Path) -> None:
    (tmp_path / "vox2" / "masked_faces" / "Ann").mkdir(parents=True)
    with pytest.raises(
        DataError, match=r"no features \(\*/mel_spectrograms\); to compute them: sf2f prepare"
    ):
        open_speakers(tmp_path, "train")


def test_empty_folders_are_skipped_with_a_warning(tmp_path: Path, caplog) -> None:
    root = write_layout(tmp_path)
    (root / "vox1" / "masked_faces" / "Dan" / "1.png").unlink()
    assert open_speakers(root, "train").names == ("Bob", "Ann", "Zo\u00e9")
    assert "vox1/Dan" in caplog.text
    with pytest.raises(DataError, match="no identity in the split 'val'"):
        open_speakers(root, "val")


def test_published_pickles_are_used_only_without_a_preferred_file(tmp_path: Path) -> None:
    root = write_layout(tmp_path)
    place = root / "vox1" / "mel_spectrograms" / "Bob"
    (place / "id_a_00001.pickle").write_bytes(pickle.dumps({"LogMel_Features": features(77)}))
    (place / "id_b_00001.pickle").write_bytes(pickle.dumps({"LogMel_Features": features(78)}))
    (place / "id_c_00001.pickle").write_bytes(b"damaged")
    (place / ".hidden.npz").touch()
    found = open_speakers(root, "train")
    assert [Path(item).name for item in found.utterances[0]] == [
        *("id_a_00001.npz", "id_a_00002.npz", "id_b_00001.pickle", "id_c_00001.pickle")
    ]
    assert found.load_mel(0, 2)[0, 0] == 78
    with pytest.raises(SpeechError, match=r"id_c_00001\.pickle"):
        found.load_mel(0, 3)
    assert len(list_files(place, (".pickle",))) == 3


def test_corrupt_files_are_named_when_they_are_read(tmp_path: Path) -> None:
    root = write_layout(tmp_path)
    (root / "vox1" / "masked_faces" / "Bob" / "1.png").write_bytes(b"no image")
    found = open_speakers(root, "train")
    with pytest.raises(ValueError, match=r"Bob.*1\.png"):
        found.load_face(0, 0)
    with pytest.raises(SpeechError, match="expected numbers of shape"):
        open_speakers(root, "train", SpeechConfig(n_mels=64)).load_mel(0, 0)


def test_load_into_memory_keeps_the_values(tmp_path: Path) -> None:
    found = open_speakers(write_layout(tmp_path), "train")
    kept = found.load_into_memory((8, 8), "float32")
    for who in range(len(found)):
        np.testing.assert_array_equal(kept.load_mel(who, 1), found.load_mel(who, 1))
        assert kept.load_face(who, 0).shape == (8, 8, 3)
    half = found.load_into_memory(voices=False)
    assert half.utterances == found.utterances and half.load_face(1, 0).shape == (4, 6, 3)
    assert found.load_into_memory(faces=False).faces == found.faces
    for path in (*tmp_path.rglob("*.npz"), *tmp_path.rglob("*.png")):
        path.unlink()
    assert half.load_face(1, 0)[0, 0].tolist() == [4, 2, 3]
    assert kept.load_mel(0, 0)[0, 0] == 3
    assert kept.subset([2, 0]).names == ("Ann", "Bob")


def test_invalid_data_folders_name_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="voiceface population"):
        open_speakers(tmp_path / "absent", "train")
    with pytest.raises(FileNotFoundError):
        open_speakers(tmp_path, "train")
    with pytest.raises(ValueError, match="train, val, test"):
        open_speakers(tmp_path, "dev")
    write_layout(tmp_path)
    (tmp_path / "split.json").unlink()
    with pytest.raises(FileNotFoundError, match="sf2f split"):
        open_speakers(tmp_path, "train")
    (tmp_path / "split.json").write_text("[]")
    with pytest.raises(IdentityError):
        open_speakers(tmp_path, "train")


@pytest.fixture(scope="module")
def population(tmp_path_factory) -> Path:
    from voiceface.synthetic.layout import build_settings
    from voiceface.synthetic.writer import write_population

    root = tmp_path_factory.mktemp("population") / "data"
    write_population(root, build_settings("tiny", **SMALL), workers=1, progress=False)
    return root


def test_written_and_in_memory_populations_are_equal(population: Path) -> None:
    written = open_speakers(population, "train", dtype="float32")
    synthetic = synthetic_speakers("tiny", "train", dtype="float32", workers=1, progress=False, **SMALL)
    assert written.names == synthetic.names == tuple(sorted(written.names)) and len(written) == 3
    assert written.genders == synthetic.genders and set(written.genders) <= {"m", "f"}
    assert written.disclaimer == synthetic.disclaimer != ""
    np.testing.assert_allclose(
        written.ground_truth.voice_factors, synthetic.ground_truth.voice_factors, atol=1e-5
    )
    assert written.ground_truth.face_names == written.names == synthetic.ground_truth.face_names
    for who in range(3):
        clips = [{mel.shape[1]: mel for mel in side.utterances[who]} for side in (written, synthetic)]
        assert sorted(clips[0]) == sorted(clips[1])
        for frames, mel in clips[0].items():
            np.testing.assert_allclose(mel, clips[1][frames], atol=1e-3)
        assert len(written.faces[who]) == len(synthetic.faces[who]) == 2
        assert written.load_face(who, 0).shape == (16, 16, 3)
    some = synthetic.subset([2, 0])
    assert some.ground_truth.face_names == some.names == (synthetic.names[2], synthetic.names[0])
    halves = synthetic_speakers("tiny", "train", workers=1, progress=False, **SMALL)
    assert halves.utterances[0][0].dtype == np.float16
    np.testing.assert_allclose(halves.load_mel(0, 0), synthetic.load_mel(0, 0), atol=0.02)


def test_a_manifest_may_mix_recordings_and_stored_features(population: Path, tmp_path: Path, caplog) -> None:
    from voiceface.audio.loading import write_wav

    clips = sorted((population / "wav").rglob("*.wav"))[:2]
    for at, clip in enumerate(clips):
        write_wav(tmp_path / f"{at}.wav", read_recording(clip)[0])
    write_wav(tmp_path / "silent.wav", np.zeros(16000, np.int16))
    (tmp_path / "broken.wav").write_text("no sound")
    write_mel(tmp_path / "stored.npz", features(5), "i", "c", "w")
    Image.new("RGB", (5, 5)).save(tmp_path / "a.png")
    rows = ["identity,modality,path,gender", "Bea,voice,1.wav,f", "Bea,face,a.png", "Ada,voice,stored.npz,f"]
    rows += ["Bea,voice,silent.wav,", "Cid,voice,broken.wav,m", "Cid,face,a2.png,", "Ada,face,a3.png,"]
    rows = [",".join([*row.split(","), ""][:4]) for row in rows]
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    found = open_speakers(tmp_path, "train", WHOLE, dtype="float32")
    assert found.names == ("Ada", "Bea") and found.genders == ("f", "f") and "broken.wav" in caplog.text
    np.testing.assert_array_equal(
        found.load_mel(1, 0), compute_log_mel(read_recording(clips[1])[0], config=WHOLE)
    )
    assert found.load_mel(0, 0)[0, 0] == 5 and len(found.utterances[1]) == 2
    assert len(open_speakers(tmp_path, "train").utterances[1]) == 1  # the silent one is left out
    (tmp_path / "0.wav").unlink()
    (tmp_path / "1.wav").unlink()
    with pytest.raises(FileNotFoundError, match=r"1\.wav"):
        open_speakers(tmp_path, "train")
