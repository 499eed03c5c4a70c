"""Populations as folders without files: what is generated when it is opened is what would be written."""

from pathlib import Path

import numpy as np
import pytest
from voiceface.__main__ import main
from voiceface.audio.loading import load_audio
from voiceface.commandline.arguments import data_folder
from voiceface.datasets.corpus import open_corpus
from voiceface.datasets.disclaimers import is_synthetic
from voiceface.embeddings.encoding import encode_files
from voiceface.io.decoding_worker import decoding_in_workers
from voiceface.io.foreign_files import find_file_kind, read_file_bytes
from voiceface.io.own_files import find_own_files
from voiceface.io.packed_folders import file_exists, list_packed_files, read_packed_head
from voiceface.synthetic.ground_truth import read_ground_truth
from voiceface.synthetic.layout import PopulationError
from voiceface.synthetic.writer import write_population

NAME = "population:tiny?people=8&seed=3&image_size=24&clip_seconds=0.5&second_view=1"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    options = {"seed": 3, "num_identities": 8, "render_size": 24, "clip_seconds": 0.5, "second_view": True}
    out = tmp_path_factory.mktemp("written")
    return write_population(out, "tiny", workers=1, lists=False, progress=False, **options)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("VOICEFACE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def media_of(root):
    return sorted(
        path.relative_to(root).as_posix() for path in root.rglob("*") if path.suffix in (".wav", ".jpg")
    )


def test_generated_files_have_the_names_and_bytes_of_written_ones(written):
    names = list_packed_files(NAME)
    assert names == media_of(written)
    assert len(names) == 8 * (2 + 2 + 2)
    for name in (names[0], names[5], names[20], names[-1]):
        assert read_file_bytes(Path(NAME) / name, ValueError, "a file") == (written / name).read_bytes()
    assert not file_exists(f"{NAME}/wav/id99999/x/00001.wav")
    assert not file_exists(f"{NAME}/{names[-1]}x")


def test_a_generated_folder_is_read_like_a_written_one(written, home):
    folder = data_folder(NAME)
    assert media_of(folder) == []
    for split in ("train", "val", "test"):
        assert open_corpus(folder, split).records == open_corpus(written, split).records
    assert open_corpus(NAME, "train").records == open_corpus(written, "train").records
    assert is_synthetic(folder)
    truth, expected = read_ground_truth(folder), read_ground_truth(written)
    assert np.array_equal(truth.voice_factors, expected.voice_factors)
    assert truth.settings == expected.settings
    item = open_corpus(folder, "test").voices[0]
    assert np.array_equal(
        load_audio(folder / "wav" / item, scale="int16"), load_audio(written / "wav" / item, scale="int16")
    )
    before = (folder / "shards.json").stat().st_mtime_ns
    assert data_folder(NAME) == folder
    assert (folder / "shards.json").stat().st_mtime_ns == before


def test_poses_and_heads_are_generated_as_they_are_written(tmp_path, home):
    options = {"num_identities": 4, "render_size": 24, "clip_seconds": 0.5, "images": 2, "mesh": True}
    written = write_population(
        tmp_path / "written", "tiny", workers=1, lists=False, progress=False, **options
    )
    name = "population:tiny?people=4&image_size=24&clip_seconds=0.5&images=2&mesh=1"
    folder = data_folder(name)
    assert not list(folder.rglob("*.xyz")) and not (folder / "truth" / "views.npz").exists()
    heads = [path.relative_to(written / "mesh").as_posix() for path in (written / "mesh").rglob("*/*.*")]
    assert list_packed_files(folder / "mesh") == sorted(heads) and len(heads) == 4 * 3
    assert len(list_packed_files(name)) == 4 * (2 + 2 + 3)
    places = [f"mesh/{heads[0]}", f"mesh/{heads[-1]}", *(f"mesh/{each}" for each in heads[:3])]
    for place in (*places, "truth/views.npz"):
        for root in (folder, Path(name)):
            assert read_file_bytes(root / place, ValueError, "a file") == (written / place).read_bytes()
    model = [path.relative_to(written) for path in (written / "face_model").rglob("*.*")]
    assert model and all((folder / path).read_bytes() == (written / path).read_bytes() for path in model)
    head = read_packed_head(Path(name) / "mesh" / heads[0], 6)
    assert head == (written / "mesh" / heads[0]).read_bytes()[:6]
    found = find_own_files([name])
    assert len(found.sounds) == len(found.pictures) == 8
    assert main(["pack", name, "--out", str(tmp_path / "packed"), "--shard-mb", "1"]) == 0
    for place in (*places, "truth/views.npz"):
        assert (tmp_path / "packed" / place).read_bytes() == (written / place).read_bytes()
    assert not file_exists(f"{NAME}/mesh/{heads[0]}")


def test_files_are_generated_in_decoding_processes_and_once(written, home, monkeypatch):
    found = find_own_files([NAME.replace("&second_view=1", "")])
    assert len(found.sounds) == len(found.pictures) == 16
    assert not found.left_out
    monkeypatch.setattr(
        "voiceface.synthetic.generated_folder.GeneratedFolder.read", lambda *_: pytest.fail("generated here")
    )
    assert find_file_kind(found.sounds[0]).key == "audio"
    table = encode_files(
        list(map(str, found.sounds[:6])),
        Path,
        lambda path: load_audio(path, scale="unit")[:4],
        lambda batch: batch,
        fingerprint="f",
        workers=1,
        progress=False,
    )
    with decoding_in_workers(1):
        first = load_audio(found.sounds[0], scale="unit")
    assert np.array_equal(table.vectors[0], first[:4])
    assert np.array_equal(first, load_audio(written / Path(*found.sounds[0].parts[1:]), scale="unit"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("population:", "preset"),
        ("population:huge", "huge"),
        ("population:tiny?size=3", "no option 'size', expected some of people, seed"),
        ("population:tiny?people=many", "people=many is no number"),
        ("population:tiny?people=1", "at least 3 identities"),
        ("population:tiny?rho=2", "rho must lie in 0 ... 1"),
        ("population:quirks", "voiceface population OUT --preset quirks"),
    ],
)
def test_wrong_names_are_told(name, words, home):
    with pytest.raises(PopulationError) as told:
        open_corpus(name, "train")
    assert words in str(told.value) and name in str(told.value)


def test_a_population_is_packed_without_being_written(written, home, tmp_path):
    out = tmp_path / "packed"
    assert main(["pack", NAME, "--out", str(out), "--shard-mb", "1"]) == 0
    names = media_of(written)
    assert list_packed_files(out) == names
    for name in (names[0], names[9], names[-1]):
        assert read_file_bytes(out / name, ValueError, "a file") == (written / name).read_bytes()
    for split in ("train", "val", "test"):
        assert open_corpus(out, split).records == open_corpus(written, split).records
    assert is_synthetic(out)
    kept = (out / "train-000000.tar").stat().st_ino
    assert main(["pack", NAME, "--out", str(out), "--shard-mb", "1"]) == 0
    assert (out / "train-000000.tar").stat().st_ino == kept
    assert main(["pack", f"{NAME}&rho=0", "--out", str(out), "--shard-mb", "1"]) == 0
    assert (out / "train-000000.tar").stat().st_ino != kept
