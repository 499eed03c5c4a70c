"""The written population: same bytes however it is made, complete tables, clear refusals, readable trees."""

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from voiceface.commands import population
from voiceface.synthetic import writer
from voiceface.synthetic.dataset import PopulationDataset, PopulationStream
from voiceface.synthetic.layout import (
    PopulationError,
    build_settings,
    clip_path,
    get_face_name,
    image_path,
    video_frame_path,
)

SMALL = build_settings("tiny", train=3, val=2, test=4, clip_seconds=0.6, seed=5)


def digests(root: Path) -> dict[str, str]:
    """Path to hash of every file below a folder."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("population") / "one"
    return writer.write_population(root, SMALL, workers=1, progress=False)


def test_layout_and_counts(tree):
    wav = sorted(path.relative_to(tree / "wav").as_posix() for path in (tree / "wav").rglob("*.wav"))
    jpg = sorted(path.relative_to(tree / "faces").as_posix() for path in (tree / "faces").rglob("*.jpg"))
    assert len(wav) == len(jpg) == 9 * 2
    assert wav == sorted(clip_path(k, clip, SMALL) for k in SMALL.ids() for clip in range(2))
    assert jpg == sorted(image_path(k, picture, SMALL) for k in SMALL.ids() for picture in range(2))
    voice, video, number = wav[0].split("/")
    assert voice.startswith("id1") and len(video) == 11 and len(Path(number).stem) == 5
    assert all(len(Path(item).stem) == 8 for item in jpg)
    summary = json.loads((tree / "truth" / "population.json").read_text())
    assert summary["complete"] and summary["files"]["wav"] == 18 and summary["identities"] == 9
    assert summary["settings"]["seed"] == 5 and len(summary["factor_sha256"]) == 64


def test_tables(tree):
    header, *rows = [line.split("\t") for line in (tree / "vox1_meta.csv").read_text().splitlines()]
    assert header == ["VoxCeleb1 ID", "VGGFace1 ID", "Gender", "Nationality", "Set"]
    assert len(rows) == 9 and rows == sorted(rows)
    for split, count, letters in (
        ("train", 3, "FGHIJKLMNOPQRSTUVWXYZ"),
        ("val", 2, "AB"),
        ("test", 4, "CDE"),
    ):
        data = (tree / "list_wav" / f"vox1_{split}.csv").read_bytes()
        assert data.count(b"\r\n") == data.count(b"\n") == count + 1
        table = list(csv.DictReader(data.decode().splitlines()))
        assert list(table[0]) == ["VoxCeleb1_ID", "VGGFace1_ID", "Gender", "Nationality", "Set"]
        assert all(row["VGGFace1_ID"][0] in letters for row in table)
        assert {row["Set"] for row in table} <= {"dev", "test"}
    splits = json.loads((tree / "split.json").read_text())
    assert [len(splits["vox1"][name]) for name in ("train", "val", "test")] == [3, 2, 4]
    lines = (tree / "Splits" / "identity_splits.txt").read_text().splitlines()
    assert sorted(line.split()[1] for line in lines) == sorted("111224444")
    assert all(line.endswith(" ") for line in lines)


def test_truth_matches_the_people(tree):
    from voiceface.synthetic.face.head import shape_coefficients
    from voiceface.synthetic.tables import all_identities

    people = all_identities(SMALL)
    rows = list(csv.DictReader((tree / "truth" / "identities.csv").read_text().splitlines()))
    assert [int(row["k"]) for row in rows] == SMALL.ids()
    found = np.array([[float(row[f"{side}{j}"]) for j in range(8)] for row in rows for side in "vg"])
    assert (
        np.abs(found.reshape(-1, 2, 8) - np.stack([people.voice_factors, people.face_factors], axis=1)).max()
        < 1e-8
    )
    alpha = np.load(tree / "truth" / "shape.npy")
    assert alpha.dtype == np.float32
    assert np.allclose(alpha, shape_coefficients(people), atol=1e-6)
    views = np.load(tree / "truth" / "views.npz")
    assert views["expression"].shape == (18, 10) and views["pose_degrees"].shape == (18, 3)
    assert views["landmarks"].shape == (18, 68, 2)
    assert all((tree / "faces" / path).is_file() for path in views["path"].tolist())


def test_ordinary_loaders_read_it(tree):
    from voiceface.audio.loading import load_audio
    from voiceface.datasets.corpus import open_corpus
    from voiceface.datasets.trials.reading import read_trial_list
    from voiceface.images.loading import load_image

    for split, count in (("train", 3), ("val", 2), ("test", 4)):
        corpus = open_corpus(tree, split)
        assert len(corpus) == count and len(corpus.voices) == len(corpus.faces) == 2 * count
        assert not corpus.without_faces and not corpus.without_voices
        wave = load_audio(corpus.voice_path(corpus.voices[0]), scale="int16")
        assert len(wave) == round(0.6 * 16_000)
        assert load_image(corpus.face_path(corpus.faces[0])).shape == (64, 64, 3)
    lists = sorted((tree / "list_wav").glob("*_test.txt"))
    assert len(lists) >= 6
    assert all(len(read_trial_list(path)) for path in lists)


def test_two_workers_give_the_same_bytes(tree, tmp_path):
    other = writer.write_population(tmp_path / "two", SMALL, workers=2, progress=False)
    assert digests(other) == digests(tree)


def test_missing_files_are_made_again_and_nothing_else(tree, tmp_path, monkeypatch):
    import shutil

    other = tmp_path / "cut"
    shutil.copytree(tree, other)
    gone = [*sorted(other.rglob("*.wav"))[3:5], sorted(other.rglob("*.jpg"))[7], other / "vox1_meta.csv"]
    for path in gone:
        path.unlink()
    (other / "truth" / "population.json").write_text(
        json.dumps(
            {
                "complete": False,
                "settings": json.loads((tree / writer.POPULATION_FILE).read_text())["settings"],
            }
        )
    )
    torn = other / "faces" / get_face_name(0, SMALL) / ".00000001.abc.part.jpg"
    torn.write_bytes(b"half a picture")
    made = []
    original = writer._write_identity
    monkeypatch.setattr(writer, "_write_identity", lambda job: made.append(original(job)))
    writer.write_population(other, SMALL, workers=1, progress=False)
    assert sum(made) == 3
    assert digests(other) == digests(tree)


def test_a_finished_population_is_not_rendered_again(tree, monkeypatch):
    from voiceface.synthetic.face import render
    from voiceface.synthetic.voice import speech_synthesis as voice

    def never(*args, **how):
        raise AssertionError("rendered again")

    monkeypatch.setattr(render, "prepare_face", never)
    monkeypatch.setattr(voice, "synthesise_clip", never)
    before = digests(tree)
    writer.write_population(tree, SMALL, workers=1, progress=False)
    assert digests(tree) == before


def test_killed_and_resumed(tree, tmp_path):
    """Kill -9 in the middle of the work; the same command then ends with the same bytes."""
    out = tmp_path / "killed"
    code = (
        "from voiceface.synthetic import writer; from voiceface.synthetic.layout import build_settings; "
        "s = build_settings('tiny', train=3, val=2, test=4, clip_seconds=0.6, seed=5); "
        f"writer.write_population({str(out)!r}, s, workers=1, progress=False)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 60
    while len(list(out.rglob("*.jpg"))) < 4 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    writer.write_population(out, SMALL, workers=1, progress=False)
    assert digests(out) == digests(tree)


def test_content_does_not_depend_on_how_many_there_are(tree, tmp_path):
    more = replace(SMALL, train=5, test=5)
    other = writer.write_population(tmp_path / "more", more, workers=1, lists=False, progress=False)
    large, small = digests(other), digests(tree)
    files = [name for name in small if name.startswith(("wav/", "faces/"))]
    assert len(files) == 36
    assert all(large[name] == small[name] for name in files)


def test_a_tree_can_grow_but_not_shrink(tmp_path):
    base = replace(SMALL, clips=1, images=1, train=1, val=1, test=2)
    root = writer.write_population(tmp_path / "grow", base, workers=1, progress=False, lists=False)
    writer.write_population(root, replace(base, train=2), workers=1, progress=False, lists=False)
    fresh = writer.write_population(
        tmp_path / "fresh", replace(base, train=2), workers=1, progress=False, lists=False
    )
    assert digests(root) == digests(fresh)
    with pytest.raises(PopulationError, match="train is 2 there and 1 here"):
        writer.write_population(root, base, workers=1, progress=False)


@pytest.mark.parametrize("changes", [{"seed": 6}, {"rho": 0.5}, {"render_size": 32}, {"nuisance": 1.0}])
def test_other_settings_are_refused(tree, changes):
    with pytest.raises(PopulationError, match=next(iter(changes))):
        writer.write_population(tree, SMALL, workers=1, progress=False, **changes)


def test_a_foreign_folder_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(PopulationError, match="not empty"):
        writer.write_population(tmp_path, SMALL)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_voices_are_the_same_for_every_rho_and_can_be_linked(tree, tmp_path):
    other = writer.write_population(
        tmp_path / "uncoupled", replace(SMALL, rho=0.0), workers=1, voices_from=tree, progress=False
    )
    alone = writer.write_population(
        tmp_path / "alone", replace(SMALL, rho=0.0, images=0), workers=1, progress=False, lists=False
    )
    mine, theirs = digests(other), digests(tree)
    for name in theirs:
        if name.startswith("wav/"):
            assert mine[name] == theirs[name] == digests(alone)[name]
    assert not np.allclose(np.load(other / "truth/shape.npy"), np.load(tree / "truth/shape.npy"))
    with pytest.raises(PopulationError, match="other voices: seed"):
        writer.write_population(tmp_path / "no", replace(SMALL, seed=1), voices_from=tree)


def test_meshes_and_second_view(tmp_path):
    from voiceface.synthetic.face.head import build_head_model

    settings = replace(SMALL, train=1, val=1, test=1, clips=0, mesh=True, second_view=True)
    root = writer.write_population(tmp_path / "mesh", settings, workers=1, lists=False, progress=False)
    name = get_face_name(settings.ids()[0], settings)
    lines = (root / "mesh" / name / f"{name}.obj").read_text().splitlines()
    vertices = np.array([line.split()[1:] for line in lines if line.startswith("v ")], float)
    alpha = np.load(root / "truth" / "shape.npy")[0]
    assert np.abs(build_head_model().compute_vertices(alpha) - vertices).max() < 1e-3
    cloud = np.loadtxt(root / "mesh" / name / f"{name}.xyz")
    assert np.array_equal(cloud, vertices)
    coefficients = np.load(root / "mesh" / name / f"{name}.npy")
    assert coefficients.shape == (50,)
    basis = np.load(root / "face_model" / "w_shp_sim.npy").astype(float)
    mean = np.load(root / "face_model" / "u_shp.npy").astype(float)
    again = (mean[:, 0] + basis @ coefficients[:40]).reshape(-1, 3) / 1000
    assert np.abs(again - vertices).max() < 2e-3
    for picture in range(2):
        second = root / "unzippedFaces" / video_frame_path(settings.ids()[0], picture, settings)
        first = root / "faces" / image_path(settings.ids()[0], picture, settings)
        assert second.read_bytes() == first.read_bytes()


def test_quirks(tmp_path):
    import cv2

    settings = replace(build_settings("quirks"), train=6, val=1, test=2, clips=1, images=1, clip_seconds=0.5)
    root = writer.write_population(tmp_path / "quirks", settings, workers=1, progress=False)
    names = [path.name for path in (root / "faces").iterdir()]
    assert any("-" in name and name.count(".") > 1 for name in names)
    assert [path for path in (root / "faces").iterdir() if not any(path.iterdir())]
    assert [path for path in (root / "wav").glob("*/*") if path.is_dir() and not any(path.iterdir())]
    assert min(path.stat().st_size for path in root.rglob("*.wav")) < 2000
    assert list(root.rglob("Thumbs.db")) and list(root.rglob("notes.txt"))
    images = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in root.rglob("*.jpg")]
    assert sum(image.ndim == 2 for image in images) == 1
    before = digests(root)
    writer.write_population(root, settings, workers=1, progress=False)
    assert digests(root) == before


def test_the_standard_set_has_rows_to_be_skipped():
    from voiceface.synthetic.tables import assign_sets

    column = assign_sets(build_settings("standard"))
    assert list(column.values()).count("none") == 26
    assert "none" not in assign_sets(SMALL).values()


def test_settings_by_number_of_people():
    assert len(build_settings("quick", num_identities=1251).ids()) == 1251
    assert [len(build_settings("quick", num_identities=1251).ids(s)) for s in ("train", "val", "test")] == [
        942,
        116,
        193,
    ]
    assert len(build_settings("quick", num_identities=30).ids()) == 30
    with pytest.raises(PopulationError, match="3 identities"):
        build_settings("quick", num_identities=2)


@pytest.mark.parametrize(
    "changes", [{"rho": 1.5}, {"nuisance": -1.0}, {"render_size": 4}, {"clip_seconds": 0.01}, {"val": 200}]
)
def test_impossible_settings_are_refused_early(tmp_path, changes):
    with pytest.raises(PopulationError, match=next(iter(changes))):
        writer.write_population(tmp_path / "no", "tiny", **changes)
    assert not (tmp_path / "no").exists()


def test_damaged_marker_is_named(tmp_path):
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "population.json").write_text("{")
    with pytest.raises(PopulationError, match=r"population\.json cannot be read"):
        writer.write_population(tmp_path, SMALL)


def test_command_line(tmp_path, capsys):
    words = [
        "--preset",
        "tiny",
        "--identities",
        "4",
        "--clips",
        "1",
        "--clip-seconds",
        "0.5",
        "--image-size",
        "32",
    ]
    words += ["--images", "1", "--workers", "1", "--seed", "3", "--rho", "0.5", "--no-lists"]
    assert population.main([str(tmp_path / "out"), *words]) == 0
    assert "4 identities, 4 clips, 4 images" in capsys.readouterr().out
    settings = json.loads((tmp_path / "out" / writer.POPULATION_FILE).read_text())["settings"]
    assert settings["rho"] == 0.5 and settings["render_size"] == 32 and settings["nuisance"] == 0.3
    with pytest.raises(PopulationError, match="streamed"):
        population.main([str(tmp_path / "large"), "--preset", "large"])
    with pytest.raises(ValueError, match="preset"):
        population.main([str(tmp_path / "none"), "--preset", "nonesuch"])


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from voiceface.commands.population import build_parser; build_parser().format_help(); "
        "print(sorted({'torch', 'cv2', 'numba', 'scipy', 'numpy'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_data_set_in_memory_equals_the_files(tree):
    import cv2
    from voiceface.audio.loading import load_audio

    data = PopulationDataset(SMALL, "test", workers=1, progress=False, augment=False)
    assert len(data) == 4 and data.clips.dtype == np.int16 and data.images.shape == (4, 2, 64, 64, 3)
    k = SMALL.ids("test")[2]
    wave = load_audio(tree / "wav" / clip_path(k, 1, SMALL), scale="int16")
    assert np.array_equal(wave, data.clips[2, 1])
    stored = cv2.imread(str(tree / "faces" / image_path(k, 1, SMALL)))[..., ::-1]
    assert np.abs(stored.astype(int) - data.images[2, 1]).mean() < 4  # JPEG
    item = data.sample(2, np.random.default_rng(0))
    again = data.sample(2, np.random.default_rng(0))
    assert item["face"].shape == (3, 64, 64) and item["face"].dtype == np.float32
    assert item["voice"].shape == (9600,) and item["voice"].dtype == np.float32
    assert item["label"] == 2
    assert np.array_equal(item["face"], again["face"]) and np.array_equal(item["voice"], again["voice"])
    truth = data.ground_truth(2)
    assert truth.id == k and truth.shape.shape == (40,)


@pytest.mark.parametrize("second_view", ["shared", "independent"])
def test_data_set_in_memory_draws_two_views_as_files_would_be(second_view):
    from voiceface.datasets.view_sampling import ViewSampler

    how = {
        "num_views": 2,
        "pair_augmentation": second_view,
        "channels": "rgb",
        "resize_mode": "stretch",
        "colour_jitter": 0.1,
    }
    data = PopulationDataset(
        SMALL, "test", workers=1, progress=False, image_size=48, clip_length=12_000, **how
    )
    views = ViewSampler(48, **how)
    for seed in range(8):
        drawn = data.sample(seed % 4, np.random.default_rng(seed))
        expected = views.sample(
            2,
            len(data.clips[0]),
            lambda i: np.ascontiguousarray(data.images[seed % 4, i, :, :, ::-1]),  # noqa: B023
            lambda i: np.resize(data.clips[seed % 4, i], 12_000).astype(np.float32),  # noqa: B023
            np.random.default_rng(seed),
        )
        assert drawn.pop("label") == seed % 4
        assert sorted(drawn) == sorted(expected) == ["face", "face_second", "voice", "voice_second"]
        assert all(np.array_equal(drawn[key], expected[key]) for key in drawn)
        assert (drawn["voice"] != drawn["voice_second"]).any()
        assert (drawn["face"] != drawn["face_second"]).any()


def test_stream_is_seeded_and_shared_out():
    how = {"clip_seconds": 0.3, "render_size": 32, "num_items": 6, "seed": 2}
    whole = list(PopulationStream("large", **how))
    assert len(whole) == 6
    parts = [list(PopulationStream("large", rank=rank, world_size=2, **how)) for rank in range(2)]
    for t, item in enumerate(whole):
        other = parts[t % 2][t // 2]
        assert item["k"] == other["k"]
        assert np.array_equal(item["face"], other["face"]) and np.array_equal(item["voice"], other["voice"])
    later = PopulationStream("large", first_item=4, **{**how, "num_items": 2})
    assert [item["k"] for item in later] == [item["k"] for item in whole[4:]]
    assert whole[0]["alpha"].shape == (40,) and whole[0]["g"].shape == (8,)


def test_a_folder_with_only_the_leftover_of_a_killed_write_counts_as_empty(tmp_path):
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / ".population.abc.part.json").write_text("{")
    writer.write_population(tmp_path, SMALL, workers=1, lists=False, progress=False)
    assert (tmp_path / "truth" / "population.json").is_file()
    assert not list(tmp_path.rglob(".*.part*"))
