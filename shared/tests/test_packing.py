"""`voiceface pack`: deterministic shards, resumed runs, and reading as if nothing had been packed."""

import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import fsspec
import numpy as np
import pytest
from voiceface.__main__ import main
from voiceface.audio.loading import load_audio, write_wav
from voiceface.datasets.corpus import CorpusError, open_corpus
from voiceface.datasets.layouts import find_files
from voiceface.datasets.packing.plan import PackError, plan_packing
from voiceface.datasets.packing.streaming import SampleStream
from voiceface.datasets.packing.writing import write_packed
from voiceface.datasets.validation.checker import check_corpus
from voiceface.embeddings.encoding import encode_files
from voiceface.images.loading import load_image
from voiceface.io.atomic import write_png
from voiceface.io.decoding_worker import decoding_in_workers
from voiceface.io.mirrored_folders import local_folder
from voiceface.io.own_files import find_own_files
from voiceface.io.packed_folders import file_exists, folder_exists, stamp_of
from voiceface.io.shard_folders import UNFINISHED_FILE
from voiceface.io.shards import ShardError, open_shard
from voiceface.synthetic.writer import write_population

SMALL = 40_000  # bytes of a shard: two or three clips


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data folder of six people in three splits, two clips and two pictures each."""
    root = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    lines = ["identity,modality,path,gender,nationality,age,split"]
    for person in range(6):
        split = ("train", "train", "train", "train", "val", "test")[person]
        for n in range(2):
            voice, face = f"wav/p{person}/{n}.wav", f"faces/p{person}/{n}.png"
            write_wav(root / voice, random.integers(-9000, 9000, 8000).astype(np.int16))
            write_png(root / face, random.integers(0, 256, (24, 24, 3)).astype(np.uint8))
            lines += [f"P{person},voice,{voice},f,,,{split}", f"P{person},face,{face},,,,{split}"]
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    (root / "list_wav").mkdir()
    (root / "list_wav" / "own.txt").write_text("a list\n")
    return root


@pytest.fixture(scope="module")
def packed(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("packed")
    write_packed(plan_packing(data, shard_bytes=SMALL), out, progress=False)
    return out


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("VOICEFACE_HOME", str(tmp_path / "home"))


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_files_give_the_same_bytes_with_any_number_of_workers(data, packed, tmp_path):
    write_packed(plan_packing(data, shard_bytes=SMALL), tmp_path / "out", workers=5, progress=False)
    assert contents(tmp_path / "out") == contents(packed)
    assert {name for name in contents(packed) if name.endswith(".tar")} == {
        *(f"train-{n:06d}.tar" for n in range(6)),
        *(f"{split}-00000{n}.tar" for split in ("val", "test") for n in range(2)),
    }


def test_shards_have_splits_descriptions_and_whole_samples(data, packed):
    record = json.loads((packed / "shards.json").read_text())
    assert record["samples"] == 24
    assert {shard["split"] for shard in record["shards"]} == {"train", "val", "test"}
    keys = []
    for entry in record["shards"]:
        with open_shard(packed / entry["name"]) as shard:
            assert entry["bytes"] <= SMALL + 10240
            for key, files in shard.iterate():
                keys.append(key)
                person = json.loads(files["json"])
                assert person["split"] == entry["split"]
                assert person["identity"][1:] in key
                ending = "wav" if key.startswith("wav") else "png"
                assert files[ending] == (data / f"{key}.{ending}").read_bytes()
    assert len(set(keys)) == 24
    assert keys[:3] == ["wav/p0/0", "wav/p0/1", "faces/p0/0"]


def test_tar_unpacks_what_was_packed(data, packed, tmp_path):
    for path in packed.glob("*.tar"):
        with tarfile.open(path) as archive:
            archive.extractall(tmp_path, filter="data")
    for path in data.rglob("*"):
        if path.suffix in (".wav", ".png"):
            assert (tmp_path / path.relative_to(data)).read_bytes() == path.read_bytes()


def test_a_packed_folder_is_read_like_the_folder(data, packed):
    for split in ("train", "val", "test", None):
        assert open_corpus(packed, split).records == open_corpus(data, split).records
    item = "wav/p0/0.wav"
    assert file_exists(packed / item)
    assert folder_exists(packed / "wav" / "p0")
    assert not file_exists(packed / "wav" / "p0")
    assert not file_exists(packed / "wav" / "absent.wav")
    assert np.array_equal(load_audio(packed / item, scale="int16"), load_audio(data / item, scale="int16"))
    face = "faces/p5/1.png"
    assert np.array_equal(load_image(packed / face), load_image(data / face))
    with decoding_in_workers(1):
        assert np.array_equal(load_image(packed / face), load_image(data / face))
    with pytest.raises(FileNotFoundError, match=r"absent\.wav: no such audio file"):
        load_audio(packed / "wav" / "absent.wav", scale="int16")


def test_own_files_of_a_packed_folder_and_of_one_archive_are_found(data, packed):
    expected = find_own_files([data])
    found = find_own_files([packed])
    assert [path.relative_to(packed) for path in found.sounds] == [
        path.relative_to(data) for path in expected.sounds
    ]
    assert len(found.pictures) == len(expected.pictures) == 12
    archive = packed / "test-000000.tar"
    assert find_own_files([archive]).sounds == [archive / "wav/p5/0.wav", archive / "wav/p5/1.wav"]
    assert len(load_audio(archive / "wav/p5/0.wav", scale="unit")) == 8000


def test_check_finds_the_same_in_both(data, packed, tmp_path):
    options = {"decode": True, "workers": 1, "progress": False}
    plain = check_corpus(data, cache_dir=tmp_path / "a", **options)
    shards = check_corpus(packed, cache_dir=tmp_path / "b", **options)
    assert vars(shards) == vars(plain)


def test_the_cache_of_embeddings_notices_changed_shards(data, packed, tmp_path):
    def load(path):
        calls.append(path)
        return load_audio(path, scale="unit")[:10]

    corpus = open_corpus(packed, "test")
    options = {"fingerprint": "f", "cache_dir": tmp_path, "workers": 0, "progress": False}
    calls = []
    for _ in range(2):
        table = encode_files(corpus.voices, corpus.voice_path, load, lambda batch: batch, **options)
    assert len(calls) == 2
    assert table.items == ["wav/p5/0.wav", "wav/p5/1.wav"]
    assert stamp_of(packed / "wav/p5/0.wav")[0] == (data / "wav/p5/0.wav").stat().st_size


def test_damage_is_named_by_shard_and_key(packed, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(packed, out)
    path = out / "train-000000.tar"
    data = bytearray(path.read_bytes())
    data[3000] ^= 1
    path.write_bytes(data)
    with pytest.raises(
        ValueError, match=r"train-000000\.tar: the file wav/p0/0\.wav is damaged.*voiceface pack"
    ):
        load_audio(out / "wav/p0/0.wav", scale="unit")
    path.write_bytes(data[:-1024])
    with pytest.raises(ValueError, match=r"train-000000\.tar is corrupt"):
        open_shard(path)
    (out / "shards.json").write_text("{")
    with pytest.raises(ShardError, match=r"shards\.json is corrupt or truncated"):
        folder_exists(out / "wav")


def test_a_stopped_run_continues_and_changed_files_are_packed_again(data, packed, tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    shutil.copytree(data, source)
    write_packed(plan_packing(source, shard_bytes=SMALL), out, progress=False)
    (out / "shards.json").unlink()
    (out / UNFINISHED_FILE).write_text('{"source": ""}')
    with pytest.raises(CorpusError, match="packing was stopped"):
        open_corpus(out, "train")
    (out / "val-000000.tar.index").unlink()
    kept = (out / "train-000000.tar").stat().st_ino
    changed = (out / "val-000000.tar").stat().st_ino
    write_packed(plan_packing(source, shard_bytes=SMALL), out, progress=False)
    assert (out / "train-000000.tar").stat().st_ino == kept
    assert (out / "val-000000.tar").stat().st_ino != changed
    assert contents(out) == contents(packed)
    text = (source / "manifest.csv").read_text().replace(",f,", ",m,")  # of the same length
    (source / "manifest.csv").write_text(text)
    write_packed(plan_packing(source, shard_bytes=10**6), out, progress=False)
    assert sorted(path.name for path in out.glob("*.tar")) == [
        "test-000000.tar",
        "train-000000.tar",
        "val-000000.tar",
    ]
    with open_shard(out / "test-000000.tar") as shard:
        assert json.loads(shard[0][1]["json"])["gender"] == "m"


def test_a_packed_folder_at_an_address_is_read_like_the_folder(data, home, capsys):
    url = "memory://test_packing/data"
    assert main(["pack", str(data), "--out", url, "--shard-mb", "1"]) == 0
    assert "24 samples in 3 shards" in capsys.readouterr().out
    assert open_corpus(url, None).records == open_corpus(data, None).records
    corpus = open_corpus(url, "val")
    assert np.array_equal(
        load_audio(corpus.voice_path("wav/p4/0.wav"), scale="unit"),
        load_audio(data / "wav/p4/0.wav", scale="unit"),
    )
    assert local_folder(url) == local_folder(url + "/")
    assert main(["check", url, "--quiet"]) == 0
    assert "Training can start" in capsys.readouterr().out
    memory = fsspec.filesystem("memory")
    assert not any(name.endswith(".part") for name in memory.find("/test_packing"))
    memory.pipe_file(f"{url}/manifest.csv", b"changed")
    shutil.rmtree(local_folder(url))
    with pytest.raises(ShardError, match=r"manifest\.csv.*pack again"):
        local_folder(url)


def test_archives_at_an_address_are_fetched_when_they_are_read(data, packed, home):
    folder = local_folder(packed.as_uri())
    assert not list(folder.glob("*.tar"))
    assert open_corpus(packed.as_uri(), "val").records == open_corpus(data, "val").records
    assert not list(folder.glob("*.tar"))
    load_audio(folder / "wav/p4/0.wav", scale="unit")
    assert [path.name for path in folder.glob("*.tar")] == ["val-000000.tar"]


def test_archives_stay_where_they_are_if_there_is_no_room(data, packed, home, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 0))
    folder = local_folder(packed.as_uri())
    samples = load_audio(folder / "wav/p4/0.wav", scale="unit")
    assert np.array_equal(samples, load_audio(data / "wav/p4/0.wav", scale="unit"))
    assert not list(folder.glob("*.tar"))


def test_wrong_inputs_are_named(data, packed, home, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").touch()
    assert main(["pack", str(data), "--out", str(tmp_path / "full")]) == 1
    assert "holds other files" in capsys.readouterr().err
    assert main(["pack", str(data), "--out", str(data / "inside")]) == 1
    assert "lies in the data folder" in capsys.readouterr().err
    assert main(["pack", str(packed), "--out", str(tmp_path / "out")]) == 1
    assert "is packed already" in capsys.readouterr().err
    assert main(["pack", str(tmp_path / "absent"), "--out", str(tmp_path / "out")]) == 1
    assert not (tmp_path / "out").exists()
    with pytest.raises(FileNotFoundError, match=r"no shards\.json"):
        local_folder("memory://test_packing/absent")
    with pytest.raises(ValueError, match="nonsense"):
        local_folder("nonsense://x")


def test_missing_files_and_files_of_nobody(data, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(data, source)
    (source / "wav/p1/0.wav").unlink()
    (source / "interview.mp4").write_bytes(b"video")
    with pytest.raises(FileNotFoundError, match=r"1 files of .*wav/p1/0\.wav.*--missing skip"):
        plan_packing(source, shard_bytes=SMALL)
    plan = plan_packing(source, shard_bytes=SMALL, on_missing="skip")
    assert plan.missing == ["wav/p1/0.wav"]
    assert plan.left_out == ["interview.mp4"]
    assert sorted(plan.plain_files) == ["list_wav/own.txt", "manifest.csv"]
    text = (source / "manifest.csv").read_text()
    (source / "wav/p1/0.wav").write_bytes(b"x")
    (source / "wav/p1/0.flac").write_bytes(b"x")
    (source / "manifest.csv").write_text(f"{text}P2,voice,wav/p1/0.flac,,,,train\n")
    with pytest.raises(PackError, match="one key, wav/p1/0, and different identities"):
        plan_packing(source, shard_bytes=SMALL)


def test_help_is_light():
    code = "import sys; sys.argv = ['voiceface', 'pack', '--help']; from voiceface.__main__ import main\n"
    code += "try:\n    main()\nexcept SystemExit:\n    pass\n"
    code += "print(sorted({'torch', 'fsspec'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_stream_gives_every_sample_once_and_continues_where_it_was_stopped(packed):
    plain = [key for key, _ in SampleStream(packed, "train").iterate()]
    assert plain[:3] == ["wav/p0/0", "wav/p0/1", "faces/p0/0"]
    assert len(plain) == 16
    options = {"shuffle_buffer": 4, "seed": 5}
    whole = list(SampleStream(packed, "train", **options).iterate(epoch=1))
    keys = [key for key, _ in whole]
    assert sorted(keys) == sorted(plain) and keys != plain
    assert [key for key, _ in SampleStream(packed, "train", **options).iterate(epoch=2)] != keys
    assert list(SampleStream(packed, "train", **options).iterate(epoch=1, start=7)) == whole[7:]
    shares = [SampleStream(packed, "train", rank=rank, world_size=3, **options) for rank in range(3)]
    assert [len(share) for share in shares] == [6, 5, 5]
    for rank, share in enumerate(shares):
        assert [key for key, _ in share.iterate(epoch=1)] == keys[rank::3]
    with pytest.raises(ShardError, match="no shard of the split 'other'"):
        SampleStream(packed, "other")
    with pytest.raises(FileNotFoundError, match="is not packed"):
        SampleStream(packed.parent)


def test_a_population_is_packed_with_its_tables_truth_and_meshes(tmp_path):
    options = {"workers": 1, "progress": False, "mesh": True, "second_view": True}
    root = write_population(tmp_path / "data", "tiny", num_identities=4, render_size=24, **options)
    plan = plan_packing(root, shard_bytes=10**9)
    assert not plan.left_out
    assert {Path(name).parts[0] for name in plan.plain_files} >= {"mesh", "face_model", "truth", "list_wav"}
    write_packed(plan, tmp_path / "packed", progress=False)
    for folder in ("wav", "faces", "unzippedFaces"):
        assert find_files(tmp_path / "packed", folder, ("",)) == find_files(root, folder, ("",))
        assert not (tmp_path / "packed" / folder).exists()
    for split in ("train", "val", "test"):
        assert open_corpus(tmp_path / "packed", split).records == open_corpus(root, split).records
    with open_shard(tmp_path / "packed" / "train-000000.tar") as shard:
        person = json.loads(shard[0][1]["json"])
    assert person["split"] == "train" and person["voice_id"].startswith("id")
