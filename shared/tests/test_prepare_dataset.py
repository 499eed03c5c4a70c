"""`voiceface prepare` without networks: runs, limits, interruptions, failures."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from fake_videos import NETWORKS, PROBE, STEP, speaker, write_fake_video
from prepare_calls import FEW, content, people, prepare, reasons, write_four
from voiceface.commandline.dispatch import run_main
from voiceface.datasets.corpus import open_corpus
from voiceface.datasets.manifest import read_manifest
from voiceface.datasets.splits import assign_split
from voiceface.datasets.validation.checker import check_corpus
from voiceface.engines.interface import LocalEngine
from voiceface.preparation.dataset import prepare_dataset
from voiceface.preparation.settings import GatherSettings, PreparationError, VideoSettings


@pytest.fixture
def four(tmp_path):
    return write_four(tmp_path / "videos")


def test_faces_become_people_and_the_folder_passes_the_check(four, tmp_path):
    out = tmp_path / "data"
    done = prepare(four, out)
    # 12 s of speech are two clips of 6 s
    assert people(done) == {"person_001": (4, 24), "person_002": (2, 16), "person_003": (1, 8)}
    report = check_corpus(out, decode=True)
    assert not report.unreadable and not report.unreferenced_folders and not report.duplicates
    rows = read_manifest(out / "manifest.csv")
    assert {row.identity.split for row in rows if row.identity.name == "person_001"} == {
        assign_split("person_001")
    }
    corpus = open_corpus(out, None)
    assert len(corpus.records) == 3 and all(record.voices and record.faces for record in corpus.records)
    record = json.loads((out / "prepare.json").read_text())
    assert record["people"]["person_002"]["videos"] == ["b.mov", "c.webm.mp4"]
    for page, words in {
        "prepare.html": ["person_001", "d.mp4"],
        "clusters.html": ["person_003", "#0"],
    }.items():
        text = (out / page).read_text()
        assert all(word in text for word in words) and str(tmp_path) not in text
        assert "data:image/jpeg" in text and "data:audio/" in text


def test_the_number_of_workers_changes_no_byte(four, tmp_path):
    prepare(four, tmp_path / "one", workers=1)
    prepare(four, tmp_path / "two", workers=2)
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_an_engine_changes_no_byte_and_no_reason(four, tmp_path):
    write_fake_video(four / "e.mp4", fails="crash")
    done = [
        prepare(four, tmp_path / "one"),
        prepare(four, tmp_path / "two", engine=LocalEngine(progress=False)),
    ]
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert done[0].failed == done[1].failed and "SIGSEGV" in done[1].failed["e.mp4"]


def test_a_second_run_prepares_only_what_changed(four, tmp_path):
    out = tmp_path / "data"
    prepare(four, out)
    before = content(out)
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    prepare(four, out, step="fake_videos:missing")  # nothing is left to do
    assert content(out) == before
    assert stamps == {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    write_fake_video(four / "d.mp4", [speaker(4, 2, 9)], seed=9)
    done = prepare(four, out)
    assert people(done)["person_003"] == (1, 8)
    kept = {name for name in before if name.startswith(("wav/", "faces/")) and "person_003" not in name}
    after = content(out)
    assert all(after[name] == before[name] for name in kept)
    assert not {name for name in before if "person_003" in name} & set(after)
    other = VideoSettings(image_size=64)
    options = {"networks": NETWORKS, "probe": PROBE, "step": STEP, "progress": False, "workers": 1}
    prepare_dataset([four], out, other, FEW, **options)
    assert check_corpus(out).image_sizes == {"64x64": 48}


def test_crashes_and_broken_files_cost_one_video_and_are_named(four, tmp_path):
    write_fake_video(four / "e.mp4", fails="crash")
    write_fake_video(four / "f.mp4", fails="probe")
    (four / "notes.txt").write_text("who is who")
    (four / "h.wav").write_bytes(b"RIFF\x00\x00\x00\x00WAVEfmt ")
    for workers in (1, 2):
        done = prepare(four, tmp_path / f"data{workers}", workers=workers)
        assert len(people(done)) == 3
        assert "SIGSEGV" in done.failed["e.mp4"]
        assert done.failed["f.mp4"] == "holds no pictures; give a video"
        assert {each.path.name for each in done.left_out} == {"notes.txt", "h.wav"}
    with pytest.raises(PreparationError, match=r"2 files cannot be used, which --strict"):
        prepare(four, tmp_path / "strict", strict=True)
    assert not (tmp_path / "strict").exists()


SCRIPT = """
import signal
import sys
from pathlib import Path
from voiceface.preparation.dataset import prepare_dataset
from voiceface.preparation.settings import GatherSettings
from fake_videos import NETWORKS, PROBE, STEP
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background of a shell
    settings = GatherSettings(min_clips=1, min_images=1, check_voices=False)
    options = {"networks": NETWORKS, "probe": PROBE, "step": STEP, "workers": int(sys.argv[3])}
    prepare_dataset([Path(sys.argv[1])], sys.argv[2], None, settings, **options)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_stopped_run_continues_with_the_same_bytes(tmp_path, workers):
    videos = tmp_path / "videos"
    for number in range(6):
        write_fake_video(videos / f"{number}.mp4", [speaker(number, 0, 4)], seed=number, sleep=0.4)
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    out = tmp_path / "stopped"
    command = [sys.executable, str(script), str(videos), str(out), str(workers)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    running = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(list(out.glob(".prepare/*/record.json"))) < 2:
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGINT)
    assert running.wait(30) != 0
    done = len(list(out.glob(".prepare/*/record.json")))
    assert 2 <= done < 6 and not (out / "manifest.csv").exists()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and group_is_alive(running.pid):
        time.sleep(0.1)
    assert not group_is_alive(running.pid), "processes work on after the run was stopped"
    prepare(videos, out, workers=workers)
    prepare(videos, tmp_path / "whole")
    assert content(out) == content(tmp_path / "whole")


def group_is_alive(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("damage", ["removed", "cut short", "one bit"])
@pytest.mark.parametrize("name", ["record.json", "*.npy", "*.png", "*.wav"])
def test_damaged_results_of_a_video_are_made_anew(tmp_path, name, damage):
    videos, out = tmp_path / "videos", tmp_path / "data"
    write_fake_video(videos / "a.mp4", [speaker(1, 0, 6), speaker(2, 8, 11)])
    prepare(videos, out)
    before = content(out)
    places = sorted(out.glob(f".prepare/*/{name}"))
    assert places
    for path in places[::3]:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        if damage == "removed":
            path.unlink()
        else:
            path.write_bytes(data[:-40] if damage == "cut short" else data)
    prepare(videos, out)
    assert content(out) == before


def test_two_runs_in_one_folder_exclude_each_other(four, tmp_path):
    fcntl = pytest.importorskip("fcntl")
    prepare(four, tmp_path / "data")
    with (tmp_path / "data" / ".prepare" / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(PreparationError, match="by another process"):
            prepare(four, tmp_path / "data")


def test_the_same_video_twice_and_the_same_content_again_count_once(four, tmp_path):
    (four / "copy.mp4").write_bytes((four / "a.mp4").read_bytes())
    # the same pictures and sound in a file with other bytes
    write_fake_video(four / "again.mp4", [speaker(1, 30, 36, shown=0, said=0)], title="another encoder")
    done = prepare(four, tmp_path / "data")
    assert people(done)["person_001"] == (4, 24)
    assert reasons(done)["video", "the same file"] == 1
    assert reasons(done)["clip", "the same sound"] == 1
    assert reasons(done)["image", "near duplicate"] == 8


def test_people_seen_at_one_time_are_two(tmp_path):
    write_fake_video(
        tmp_path / "v" / "twins.mp4", [speaker(1, 0, 9, speaks=[0, 4]), speaker(1, 1, 9, speaks=[5, 9])]
    )
    assert list(people(prepare(tmp_path / "v", tmp_path / "data"))) == ["person_001", "person_002"]


def test_doubtful_pictures_and_silence_are_left_out(tmp_path):
    speakers = [speaker(1, 0, 5), speaker(2, 6, 9, problem="blurred: sharpness 0.001"), speaker(3, 10, 10.5)]
    write_fake_video(tmp_path / "v" / "a.mp4", speakers)
    done = prepare(tmp_path / "v", tmp_path / "data")
    assert people(done) == {"person_001": (1, 8)}
    assert reasons(done) == {
        ("track", "no good image of the face"): 1,
        ("track", "does not speak"): 1,
        ("image", "face blurred"): 8,
        ("speech", "shorter than 1 s"): 1,
    }


def test_a_head_that_does_not_move_keeps_three_images(tmp_path):
    videos = tmp_path / "videos"
    write_fake_video(videos / "a.mp4", [speaker(1, 0, 6, still=True), speaker(2, 8, 14)])
    # the same pictures and other words; the first of them repeat another track
    write_fake_video(videos / "b.mp4", [speaker(1, 0, 6, still=True, said=3)])
    done = prepare(videos, tmp_path / "data")
    assert people(done) == {"person_001": (2, 3), "person_002": (1, 8)}
    assert reasons(done)[("image", "near duplicate")] == 5 + 8


def test_limits_spread_over_videos_and_small_people_are_left_out(four, tmp_path):
    settings = GatherSettings(min_clips=2, min_images=2, max_clips=3, max_images=6, check_voices=False)
    done = prepare(four, tmp_path / "data", settings)
    assert people(done) == {"person_001": (3, 6), "person_002": (2, 6)}
    assert reasons(done)["person", "too few clips or images"] == 1
    first = done.gathering.people[0]
    assert [track.video.label for track, _ in first.images].count("b.mov") == 3
    assert any("nobody is in" in note for note in done.gathering.notes)


def test_voices_are_checked_by_person(four, tmp_path):
    def check(embeddings, labels):
        assert len(embeddings) == len(labels) == 7
        return ["another voice: cosine 0.1" if label == "person_003" else "" for label in labels]

    done = prepare(four, tmp_path / "data", GatherSettings(min_clips=1, min_images=1), check_voices=check)
    assert set(people(done)) == {"person_001", "person_002"}
    assert reasons(done)["clip", "another voice"] == 1


def test_what_a_user_wrote_into_the_manifest_stays(four, tmp_path):
    out = tmp_path / "data"
    prepare(four, out)
    text = (out / "manifest.csv").read_text().replace(".wav,,,,", ".wav,f,Chile,30,")
    (out / "manifest.csv").write_text(text)
    prepare(four, out)
    assert {row.identity.nationality for row in read_manifest(out / "manifest.csv")} == {"Chile"}


def test_a_folder_of_something_else_is_refused(four, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis.txt").write_text("mine")
    with pytest.raises(PreparationError, match="is not empty"):
        prepare(four, tmp_path / "data")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["thesis.txt"]


def test_no_video_and_no_speaker(tmp_path):
    (tmp_path / "v").mkdir()
    with pytest.raises(PreparationError, match="no videos"):
        prepare(tmp_path / "v", tmp_path / "data")
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        prepare(tmp_path / "absent", tmp_path / "data")
    write_fake_video(tmp_path / "v" / "a.mp4")
    done = prepare(tmp_path / "v", tmp_path / "data")
    assert not done.gathering.people and (tmp_path / "data" / "prepare.html").is_file()


def test_without_networks_the_command_says_how_to_get_them(four, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VOICEFACE_HOME", str(tmp_path / "empty"))
    words = [str(four), "--out", str(tmp_path / "data")]
    assert run_main("voiceface.commands.prepare", words) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and "voiceface models get real" in errors[0]
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "words", [["--workers", "0"], ["--min-clips", "0"], ["--split-fractions", "1", "1", "0"]]
)
def test_wrong_options_are_bad_usage(four, tmp_path, words):
    with pytest.raises(SystemExit) as stop:
        run_main("voiceface.commands.prepare", [str(four), "--out", str(tmp_path / "data"), *words])
    assert stop.value.code == 2
