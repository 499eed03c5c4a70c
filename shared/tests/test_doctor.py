"""Checking a data folder: counts, faults by name, verdict, and going on after a kill."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
from voiceface.audio.loading import write_wav
from voiceface.commands.check import format_report, main
from voiceface.datasets.validation.checker import check_corpus, find_cache_directory
from voiceface.datasets.validation.file_probe import JOURNAL_FILE, probe_file, probe_files
from voiceface.datasets.validation.report import DatasetReport
from voiceface.io.atomic import write_bytes

HEADER = "VoxCeleb1_ID,VGGFace1_ID,Gender,Nationality,Set"


def picture(path, value, size=(12, 12), mode="RGB"):
    """A JPEG picture of noise around `value`; None gives one flat colour."""
    from PIL import Image

    rng = np.random.default_rng(0 if value is None else value)
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], 3)
    pixels = np.full(shape, 90) if value is None else rng.integers(0, 255, shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8), mode).save(path, quality=90)


def clip(path, key, seconds=1.0, rate=16000, gain=1000):
    rng = np.random.default_rng(key)
    write_wav(path, (gain * rng.standard_normal(int(seconds * rate))).astype(np.int16), rate)


@pytest.fixture
def data(tmp_path):
    """Two people to train on, one to validate with, two to test with; two clips and pictures each."""
    root = tmp_path / "data"
    splits = {"train": "FG", "val": "A", "test": "CD"}
    key = 0
    for split, letters in splits.items():
        rows = [HEADER]
        for letter in letters:
            number = ord(letter)
            rows.append(f"id100{number},{letter}_X,{'fm'[number % 2]},USA,dev")
            for i in range(2):
                key += 1
                clip(root / f"wav/id100{number}/v{i}/00001.wav", key)
                picture(root / f"faces/{letter}_X/0000000{i}.jpg", key)
        write_bytes(root / f"list_wav/vox1_{split}.csv", ("\r\n".join(rows) + "\r\n").encode())
    return root


def check(root, **options):
    return check_corpus(root, progress=False, **options)


def test_a_sound_folder_passes_with_the_right_counts(data, capsys):
    found = check(data)
    assert found.trainable and not found.warnings
    count = found.splits["train"]
    assert (count.identities, count.male, count.female, count.voices, count.faces) == (2, 1, 1, 4, 4)
    assert count.hours == pytest.approx(4 / 3600, abs=1e-4) and found.sample_rates == {"16000": 10}
    assert found.durations["1-2 s"] == 10 and sum(found.durations.values()) == 10
    assert main([str(data), "--quiet", "--decode", "--json", str(data / "out.json")]) == 0
    assert "Training can start." in capsys.readouterr().out
    written = json.loads((data / "out.json").read_text())
    assert written["trainable"] is True and written["splits"]["test"]["voices"] == 4


def test_unreadable_files_are_named_and_block_training(data):
    (data / "wav/id10070/v0/00001.wav").write_bytes(b"RIFF")
    complete = (data / "wav/id10071/v0/00001.wav").read_bytes()
    (data / "wav/id10071/v0/00001.wav").write_bytes(complete[:9000])
    (data / "faces/F_X/00000000.jpg").write_bytes(b"")
    cut = (data / "faces/C_X/00000000.jpg").read_bytes()
    (data / "faces/C_X/00000000.jpg").write_bytes(cut[:200])
    for deep in (False, True):
        found = check(data, decode=deep)
        assert set(found.unreadable) == {
            "id10070/v0/00001.wav", "id10071/v0/00001.wav", "F_X/00000000.jpg", "C_X/00000000.jpg"
        }  # fmt: skip
        assert "truncated" in found.unreadable["id10071/v0/00001.wav"] and not found.trainable
        assert any("3 files of training" in text for text in found.errors)
        assert any("1 files of the test split" in text for text in found.warnings)
        assert str(data) not in format_report(found)


def test_suspicious_files_are_found(data):
    clip(data / "wav/id10070/v0/00001.wav", 1, seconds=0.3)
    clip(data / "wav/id10071/v0/00001.wav", 2, gain=1)
    picture(data / "faces/F_X/00000000.jpg", None)
    picture(data / "faces/G_X/00000000.jpg", 5, mode="L")
    picture(data / "faces/A_X/00000000.jpg", 6, size=(12, 8))
    quick, deep = check(data), check(data, decode=True)
    assert quick.suspicious == {
        "shorter than 0.5 s": ["id10070/v0/00001.wav"],
        "grey images": ["G_X/00000000.jpg"],
        "images that are not square": ["A_X/00000000.jpg"],
    }
    assert deep.suspicious["silent"] == ["id10071/v0/00001.wav"]
    assert deep.suspicious["constant images"] == ["F_X/00000000.jpg"]
    assert quick.trainable and deep.trainable


def test_gaps_between_tables_and_folders(data):
    clip(data / "wav/id10999/v/00001.wav", 50)
    (data / "faces/F_X/notes.txt").touch()
    (data / "faces/C_X").rename(data / "faces/Z_Z")
    found = check(data)
    assert found.missing_folders == ["faces/C_X"] and not found.trainable
    assert found.unreferenced_folders == ["wav/id10999", "faces/Z_Z"] and found.ignored_suffixes == {
        ".txt": 1
    }
    with (data / "list_wav/vox1_val.csv").open("ab") as table:
        table.write(b"id10999,Z_Z,f,USA,none\r\n")
    assert check(data).unreferenced_folders == []  # a row with Set none is a row


def test_people_without_files_other_rates_and_few_people(data):
    for path in (data / "wav/id10070").rglob("*.wav"):
        path.unlink()
    clip(data / "wav/id10071/v0/00001.wav", 1, rate=8000)
    found = check(data)
    assert found.without_voices == ["F_X"] and found.sample_rates == {"16000": 7, "8000": 1}
    words = " ".join(found.errors)
    assert "at least 2 identities" in words and "F_X" in words and "1 clips are not at 16000 Hz" in words


def test_lists_that_name_absent_files(data):
    line = "id10065/v0/00001.wav A_X/00000000.jpg A_X/00000009.jpg\n"
    (data / "list_wav/match_v2f_2_val.txt").write_text(line)
    (data / "list_wav/verify_v2f_test.txt").write_text("id10067/v0/00001.wav C_X/00000000.jpg\n")
    (data / "list_wav/match_v2f_2_test.txt").write_text("one two\n")
    found = check(data)
    cover = {entry.name: entry for entry in found.trial_lists}
    assert cover["match_v2f_2_val.txt"].examples == ["A_X/00000009.jpg"] and not found.trainable
    assert cover["verify_v2f_test.txt"].missing == 0 and "line 1" in cover["match_v2f_2_test.txt"].error
    assert len(found.errors) == 1 and len(found.warnings) == 1


def test_duplicate_content_across_people_and_splits(data):
    same = (data / "faces/F_X/00000000.jpg").read_bytes()
    (data / "faces/F_X/00000001.jpg").write_bytes(same)
    (data / "faces/D_X/00000001.jpg").write_bytes(same)
    found = check(data)
    assert found.duplicates == [["D_X/00000001.jpg", "F_X/00000000.jpg", "F_X/00000001.jpg"]]
    assert found.duplicates_across_identities == found.duplicates_across_splits == 1


def test_manifest_folder(data):
    rows = ["identity,modality,path"]
    for record, number in (("F_X", 70), ("G_X", 71)):
        rows += [f"{record},voice,wav/id100{number}/v0/00001.wav"]
        rows += [f"{record},face,faces/{record}/00000000.jpg"]
    (data / "manifest.csv").write_text("\n".join(rows) + "\n")
    assert check(data).trainable
    (data / "faces/G_X/00000000.jpg").unlink()
    found = check(data)
    assert found.unreadable == {"faces/G_X/00000000.jpg": "no such file"} and not found.trainable


KILLED = """
import os, signal, sys
from voiceface.datasets.validation import file_probe
from voiceface.datasets.validation.checker import check_corpus
file_probe.CHUNK_SIZE = 4
look = file_probe.probe_file
seen = []
def stop(job, *_):
    seen.append(job)
    if len(seen) > 10:
        os.kill(os.getpid(), signal.SIGKILL)
    return look(job)
file_probe.probe_file = stop
check_corpus(sys.argv[1], workers=1, progress=False)
"""


def test_a_killed_check_goes_on_and_finds_the_same(data, monkeypatch):
    complete = asdict(check(data, cache_dir=data.parent / "other"))
    done = subprocess.run([sys.executable, "-c", KILLED, str(data)], check=False, env=os.environ)
    assert done.returncode == -signal.SIGKILL
    journal = data / ".voiceface" / JOURNAL_FILE
    assert len(journal.read_bytes().splitlines()) == 8
    journal.write_bytes(journal.read_bytes()[:-7])  # the kill may cut a line
    looked = []
    from voiceface.datasets.validation import file_probe

    look = file_probe.probe_file
    monkeypatch.setattr(file_probe, "probe_file", lambda job, *_: looked.append(job) or look(job))
    assert asdict(check(data)) == complete and len(looked) == 20 - 7
    looked.clear()
    assert asdict(check(data)) == complete and not looked
    picture(data / "faces/F_X/00000000.jpg", 77, size=(10, 10))
    assert check(data).image_sizes == {"12x12": 9, "10x10": 1} and len(looked) == 1


def test_workers_do_not_change_the_findings(data):
    one = check(data, workers=1, cache_dir=data.parent / "a")
    assert asdict(check(data, workers=2, cache_dir=data.parent / "b")) == asdict(one)


def test_a_folder_that_cannot_be_written_is_checked_all_the_same(data, monkeypatch, tmp_path):
    (data / ".voiceface").write_text("in the way")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "temporary"))
    assert (tmp_path / "temporary") in find_cache_directory(data).parents and check(data).trainable


def test_bad_usage(data, capsys):
    assert main([str(data / "none")]) == 2 and main([]) == 2 and main([str(data), "--workers", "0"]) == 2
    (data / "list_wav/vox1_test.csv").write_text("wrong\n")
    assert main([str(data), "--quiet"]) == 1 and "vox1_test.csv, line 1" in capsys.readouterr().err


def test_an_empty_report_is_readable():
    assert "Training can start" in format_report(DatasetReport()) and probe_files.__doc__


def test_pipes_and_damaged_arrays_are_named_and_stop_nothing(tmp_path):
    pipe, array = tmp_path / "a.wav", tmp_path / "a.npy"
    os.mkfifo(pipe)  # without a writer, opening it would take for ever
    array.write_bytes(b"\x93NUMPY\x01\x00\x05\x00((((\n")
    for path, reason in ((pipe, "is a named pipe"), (array, "no .npy file")):
        assert reason in probe_file(("voice", str(path), False)).error
