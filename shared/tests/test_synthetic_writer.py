"""Written populations: byte-equal for any number of workers, complete tables, readable folders."""

import csv
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
from file_digests import file_digests
from voiceface.commands import population
from voiceface.synthetic import writer
from voiceface.synthetic.dataset import PopulationDataset, PopulationStream, generate_identity
from voiceface.synthetic.layout import (
    PopulationError,
    build_settings,
    clip_path,
    get_face_name,
    image_path,
    video_frame_path,
)

SMALL = build_settings("tiny", train=3, val=2, test=4, clip_seconds=0.6, seed=5)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("population") / "one"
    return writer.write_population(root, SMALL, workers=1, progress=False)


def test_layout_and_counts(tree):
    wav = sorted(path.relative_to(tree / "wav").as_posix() for path in (tree / "wav").rglob("*.wav"))
    jpg = sorted(path.relative_to(tree / "faces").as_posix() for path in (tree / "faces").rglob("*.jpg"))
    assert len(wav) == len(jpg) == 9 * 2
    assert wav == sorted(clip_path(k, clip, SMALL) for k in SMALL.ids() for clip in range(2))
    assert jpg == sorted(image_path(k, index, SMALL) for k in SMALL.ids() for index in range(2))
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
    initials = {"train": "FGHIJKLMNOPQRSTUVWXYZ", "val": "AB", "test": "CDE"}
    for split, count in (("train", 3), ("val", 2), ("test", 4)):
        data = (tree / "list_wav" / f"vox1_{split}.csv").read_bytes()
        assert data.count(b"\r\n") == data.count(b"\n") == count + 1
        table = list(csv.DictReader(data.decode().splitlines()))
        assert list(table[0]) == ["VoxCeleb1_ID", "VGGFace1_ID", "Gender", "Nationality", "Set"]
        assert all(row["VGGFace1_ID"][0] in initials[split] for row in table)
        assert {row["Set"] for row in table} <= {"dev", "test"}
    splits = json.loads((tree / "split.json").read_text())
    assert [len(splits["vox1"][name]) for name in ("train", "val", "test")] == [3, 2, 4]
    lines = (tree / "Splits" / "identity_splits.txt").read_text().splitlines()
    assert sorted(line.split()[1] for line in lines) == sorted("111224444")
    assert all(line.endswith(" ") for line in lines)


def test_ground_truth_matches_the_identities(tree):
    from voiceface.synthetic.head.shape_space import shape_coefficients

    identities = SMALL.sample_identities()
    rows = list(csv.DictReader((tree / "truth" / "identities.csv").read_text().splitlines()))
    assert [int(row["k"]) for row in rows] == SMALL.ids()
    factors = np.array([[float(row[f"{side}{j}"]) for j in range(8)] for row in rows for side in "vg"])
    expected = np.stack([identities.voice_factors, identities.face_factors], axis=1)
    assert np.abs(factors.reshape(-1, 2, 8) - expected).max() < 1e-8
    alpha = np.load(tree / "truth" / "shape.npy")
    assert alpha.dtype == np.float32
    assert np.allclose(alpha, shape_coefficients(identities), atol=1e-6)
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


def test_two_workers_write_the_same_bytes(tree, tmp_path):
    other = writer.write_population(tmp_path / "two", SMALL, workers=2, progress=False)
    assert file_digests(other) == file_digests(tree)


def test_only_missing_files_are_written_again(tree, tmp_path):
    import shutil

    copy = tmp_path / "incomplete"
    shutil.copytree(tree, copy)
    missing = [*sorted(copy.rglob("*.wav"))[3:5], sorted(copy.rglob("*.jpg"))[7], copy / "vox1_meta.csv"]
    for path in missing:
        path.unlink()
    settings = json.loads((tree / writer.POPULATION_FILE).read_text())["settings"]
    (copy / writer.POPULATION_FILE).write_text(json.dumps({"complete": False, "settings": settings}))
    partial = copy / "faces" / get_face_name(0, SMALL) / ".00000001.abc.part.jpg"
    partial.write_bytes(b"half an image")
    media = {path: path.stat() for suffix in ("wav", "jpg") for path in copy.rglob(f"[!.]*.{suffix}")}
    assert len(media) == 36 - 3
    writer.write_population(copy, SMALL, workers=1, progress=False)
    for path, before in media.items():
        after = path.stat()
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns), "written again"
    assert file_digests(copy) == file_digests(tree)


def test_a_finished_population_is_not_rendered_again(tree, monkeypatch):
    from voiceface.synthetic.head import render
    from voiceface.synthetic.voice import speech_synthesis as voice

    def never(*args, **kwargs):
        raise AssertionError("rendered again")

    monkeypatch.setattr(render, "prepare_face", never)
    monkeypatch.setattr(voice, "synthesise_clip", never)
    before = file_digests(tree)
    writer.write_population(tree, SMALL, workers=1, progress=False)
    assert file_digests(tree) == before


def test_killed_and_resumed(tree, tmp_path):
    """A killed run that is started again writes the same bytes."""
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
    assert file_digests(out) == file_digests(tree)


def test_files_do_not_depend_on_the_number_of_identities(tree, tmp_path):
    more = replace(SMALL, train=5, test=5)
    other = writer.write_population(tmp_path / "more", more, workers=1, lists=False, progress=False)
    large, small = file_digests(other), file_digests(tree)
    files = [name for name in small if name.startswith(("wav/", "faces/"))]
    assert len(files) == 36
    assert all(large[name] == small[name] for name in files)


def test_a_population_can_grow_but_not_shrink(tmp_path):
    base = replace(SMALL, clips=1, images=1, train=1, val=1, test=2)
    root = writer.write_population(tmp_path / "grow", base, workers=1, progress=False, lists=False)
    writer.write_population(root, replace(base, train=2), workers=1, progress=False, lists=False)
    fresh = writer.write_population(
        tmp_path / "fresh", replace(base, train=2), workers=1, progress=False, lists=False
    )
    assert file_digests(root) == file_digests(fresh)
    with pytest.raises(PopulationError, match="train is 2 there and 1 here"):
        writer.write_population(root, base, workers=1, progress=False)


@pytest.mark.parametrize("changes", [{"seed": 6}, {"rho": 0.5}, {"render_size": 32}, {"nuisance": 1.0}])
def test_other_settings_raise(tree, changes):
    with pytest.raises(PopulationError, match=next(iter(changes))):
        writer.write_population(tree, SMALL, workers=1, progress=False, **changes)


def test_a_foreign_folder_raises(tmp_path):
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
    linked, original, synthesised = file_digests(other), file_digests(tree), file_digests(alone)
    names = [name for name in original if name.startswith("wav/")]
    assert len(names) == 18
    assert all(linked[name] == original[name] == synthesised[name] for name in names)
    assert not np.allclose(np.load(other / "truth/shape.npy"), np.load(tree / "truth/shape.npy"))
    with pytest.raises(PopulationError, match="other voices: seed"):
        writer.write_population(tmp_path / "no", replace(SMALL, seed=1), voices_from=tree)


def test_meshes_and_second_view(tmp_path):
    from voiceface.synthetic.head.model import build_head_model

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
    for index in range(2):
        second = root / "unzippedFaces" / video_frame_path(settings.ids()[0], index, settings)
        first = root / "faces" / image_path(settings.ids()[0], index, settings)
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
    before = file_digests(root)
    writer.write_population(root, settings, workers=1, progress=False)
    assert file_digests(root) == before


def test_the_standard_set_has_excluded_identities():
    from voiceface.synthetic.tables import assign_sets

    column = assign_sets(build_settings("standard"))
    assert list(column.values()).count("none") == 26
    assert "none" not in assign_sets(SMALL).values()


def test_settings_by_number_of_identities():
    settings = build_settings("quick", num_identities=1251)
    assert len(settings.ids()) == 1251
    assert [len(settings.ids(split)) for split in ("train", "val", "test")] == [942, 116, 193]
    assert len(build_settings("quick", num_identities=30).ids()) == 30
    with pytest.raises(PopulationError, match="3 identities"):
        build_settings("quick", num_identities=2)


@pytest.mark.parametrize(
    "changes", [{"rho": 1.5}, {"nuisance": -1.0}, {"render_size": 4}, {"clip_seconds": 0.01}, {"val": 200}]
)
def test_invalid_settings_raise_before_anything_is_written(tmp_path, changes):
    with pytest.raises(PopulationError, match=next(iter(changes))):
        writer.write_population(tmp_path / "no", "tiny", **changes)
    assert not (tmp_path / "no").exists()


def test_a_corrupt_population_file_is_named(tmp_path):
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "population.json").write_text("{")
    with pytest.raises(PopulationError, match=r"population\.json is corrupt"):
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
        "--images",
        "1",
    ]
    words += ["--workers", "1", "--seed", "3", "--rho", "0.5", "--no-lists"]
    assert population.main([str(tmp_path / "out"), *words]) == 0
    assert "4 identities, 4 clips, 4 images" in capsys.readouterr().out
    settings = json.loads((tmp_path / "out" / writer.POPULATION_FILE).read_text())["settings"]
    assert settings["rho"] == 0.5 and settings["render_size"] == 32 and settings["nuisance"] == 0.3
    with pytest.raises(PopulationError, match="streaming"):
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


def test_the_in_memory_dataset_equals_the_files(tree):
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
def test_the_in_memory_dataset_samples_two_views_as_the_dataset_of_files(second_view):
    from voiceface.datasets.view_sampling import ViewSampler

    options = {"num_views": 2, "pair_augmentation": second_view, "channels": "rgb"}
    options |= {"resize_mode": "stretch", "colour_jitter": 0.1}
    sizes = {"image_size": 48, "clip_length": 12_000}
    data = PopulationDataset(SMALL, "test", workers=1, progress=False, **sizes, **options)
    views = ViewSampler(48, **options)
    for seed in range(8):
        sample = data.sample(seed % 4, np.random.default_rng(seed))
        expected = views.sample(
            2,
            len(data.clips[0]),
            lambda i: np.ascontiguousarray(data.images[seed % 4, i, :, :, ::-1]),  # noqa: B023
            lambda i: np.resize(data.clips[seed % 4, i], 12_000).astype(np.float32),  # noqa: B023
            np.random.default_rng(seed),
        )
        assert sample.pop("label") == seed % 4
        assert sorted(sample) == sorted(expected) == ["face", "face_second", "voice", "voice_second"]
        assert all(np.array_equal(sample[key], expected[key]) for key in sample)
        assert (sample["voice"] != sample["voice_second"]).any()
        assert (sample["face"] != sample["face_second"]).any()


def test_the_stream_is_seeded_and_distributed():
    options = {"clip_seconds": 0.3, "render_size": 32, "num_items": 6, "seed": 2}
    items = list(PopulationStream("large", **options))
    assert len(items) == 6
    parts = [list(PopulationStream("large", rank=rank, world_size=2, **options)) for rank in range(2)]
    for t, item in enumerate(items):
        other = parts[t % 2][t // 2]
        assert item["k"] == other["k"]
        assert np.array_equal(item["face"], other["face"]) and np.array_equal(item["voice"], other["voice"])
    later = PopulationStream("large", first_item=4, **{**options, "num_items": 2})
    assert [item["k"] for item in later] == [item["k"] for item in items[4:]]
    assert items[0]["alpha"].shape == (40,) and items[0]["g"].shape == (8,)


def test_items_of_the_stream_equal_the_written_files():
    settings = build_settings("large", clip_seconds=0.3, render_size=32, nuisance=0.3, seed=2)
    for item in PopulationStream(settings, augment=False, num_items=3):
        clips, images, _ = generate_identity((settings, item["k"]))
        faces = images[..., ::-1].transpose(0, 3, 1, 2)
        assert any(np.array_equal(item["face"], face) for face in faces)
        assert any(np.array_equal(item["voice"], clip) for clip in clips)


def test_a_folder_with_only_a_partial_file_counts_as_empty(tmp_path):
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / ".population.abc.part.json").write_text("{")
    writer.write_population(tmp_path, SMALL, workers=1, lists=False, progress=False)
    assert (tmp_path / "truth" / "population.json").is_file()
    assert not list(tmp_path.rglob(".*.part*"))
