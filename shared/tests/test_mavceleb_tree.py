"""The synthetic tree in the layout of MAV-Celeb: same bytes for any number of workers, no leak, checked."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from file_digests import file_digests
from voiceface.commands import check, population
from voiceface.datasets.mavceleb import layout
from voiceface.datasets.mavceleb.lists import MavCelebError
from voiceface.datasets.validation.mavceleb import check_mavceleb
from voiceface.synthetic.identities import sample_identities
from voiceface.synthetic.layout import PopulationError, build_settings
from voiceface.synthetic.mavceleb import spoken_languages, write_mavceleb
from voiceface.synthetic.voice.phonetics import (
    FULL_INVENTORY,
    INVENTORIES,
    PHONES,
    generate_control_tracks,
)

SMALL = build_settings("tiny", train=4, val=1, test=3, clip_seconds=0.6, seed=3)


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    return write_mavceleb(tmp_path_factory.mktemp("fame"), SMALL, "v2", workers=1, progress=False)


@pytest.fixture
def copy(tree, tmp_path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(tree, tmp_path / "v2"))


def test_two_workers_and_an_interrupted_run_write_the_same_bytes(tree, tmp_path):
    first = file_digests(tree)
    root = write_mavceleb(tmp_path, SMALL, "v2", workers=2, progress=False)
    assert file_digests(root) == first
    lost = sorted(root.glob("voices/*/*/*.wav"))[:2] + sorted(root.glob("faces/*/*/*/*.jpg"))[:2]
    for path in (*lost, root / "lists" / "Hindi_test.txt", root / "truth" / "population.json"):
        if path.name != "population.json":
            path.unlink()
    state = json.loads((root / "truth" / "population.json").read_text())
    (root / "truth" / "population.json").write_text(json.dumps({**state, "complete": False}))
    write_mavceleb(tmp_path, SMALL, "v2", workers=1, progress=False)
    assert file_digests(root) == first


def test_every_clip_is_tested_with_its_own_face_and_with_another(tree):
    for language in layout.LANGUAGES["v2"]:
        pairs = layout.read_test_list(tree, "v2", language)
        table = (tree / "truth" / f"{language}_test_files.csv").read_text().splitlines()[1:]
        owner = dict(line.split(",") for line in table)
        assert pairs.labels is not None and len(pairs) == 3 * 2 * 2
        assert pairs.labels.tolist() == [owner[v] == owner[f] for v, f in zip(pairs.voices, pairs.faces)]
        by_voice: dict[str, list[int]] = {}
        for voice, label in zip(pairs.voices, pairs.labels.tolist()):
            by_voice.setdefault(voice, []).append(label)
        assert len(by_voice) == 6 and all(sorted(labels) == [0, 1] for labels in by_voice.values())
        assert all(len(key) == 8 for key in pairs.keys)
        assert layout.read_pair_list(tree / "lists" / f"{language}_test.txt").labels is None


def test_who_is_tested_is_never_trained_on(tree):
    training = layout.open_training_corpus(tree, "v2")
    lists = [layout.read_test_list(tree, "v2", language) for language in layout.LANGUAGES["v2"]]
    assert len(training) == 5 and set(training.names).isdisjoint(layout.read_test_identities(tree))
    assert not layout.find_leaks(training, lists, tree)


def test_training_identities_speak_both_languages_or_one():
    spoken = [spoken_languages(k, "train", seed=0) for k in range(400)]
    assert {(0, 1), (0,), (1,)} == set(spoken)
    assert 0.65 < np.mean([len(each) == 2 for each in spoken]) < 0.85
    assert {spoken_languages(k, "test", seed=0) for k in range(50)} == {(0, 1)}


def test_languages_use_their_phones_and_leave_the_speaker_as_he_is():
    identities = sample_identities([400])
    tracks = [
        generate_control_tracks(identities, 0, 0, seed=0, seconds=6.0, inventory=inventory)
        for inventory in (FULL_INVENTORY, *INVENTORIES)
    ]
    silence = len(PHONES) - 1
    for inventory, track in zip((FULL_INVENTORY, *INVENTORIES), tracks):
        assert set(track.phone.tolist()) - {silence} <= {*inventory.vowels, *inventory.consonants}
    medians = [np.median(track.f0) for track in tracks]
    assert max(medians) / min(medians) < 1.05
    assert set(INVENTORIES[0].vowels) != set(INVENTORIES[1].vowels)


def test_a_folder_of_other_settings_or_content_is_left_alone(tree, tmp_path):
    before = file_digests(tree)
    with pytest.raises(PopulationError, match="was written with other settings"):
        write_mavceleb(tree.parent, build_settings("tiny", train=5, val=0, test=3, seed=3), "v2")
    assert file_digests(tree) == before
    (tmp_path / "v1").mkdir()
    (tmp_path / "v1" / "own.txt").write_text("mine")
    with pytest.raises(PopulationError, match="is not empty"):
        write_mavceleb(tmp_path, SMALL, "v1")


@pytest.mark.parametrize(
    ("changes", "version", "expected"),
    [
        ({"test": 1}, "v1", "1 identities for test"),
        ({}, "v4", "unknown version 'v4'"),
        ({"images": 0}, "v1", "0 images"),
        ({"mesh": True}, "v1", "not part of this layout"),
    ],
)
def test_settings_that_give_no_test_are_refused(tmp_path, changes, version, expected):
    with pytest.raises(PopulationError, match=expected):
        write_mavceleb(tmp_path, build_settings("tiny", **changes), version)
    assert not list(tmp_path.iterdir())


def test_the_command_writes_a_tree_and_refuses_options_of_the_other_layout(tmp_path, capsys):
    words = [
        "--preset",
        "tiny",
        "--identities",
        "20",
        "--clip-seconds",
        "0.5",
        "--clips",
        "1",
        "--images",
        "1",
    ]
    words += ["--workers", "1", "--layout", "mavceleb", "--version", "v3"]
    assert population.main([str(tmp_path / "out"), *words]) == 0
    assert "English and German" in capsys.readouterr().out
    assert layout.is_mavceleb(tmp_path / "out") and layout.find_version(tmp_path / "out") == "v3"
    for more in (["--videos", "1"], ["--no-lists"]):
        with pytest.raises(PopulationError, match="not with --layout mavceleb"):
            population.main([str(tmp_path / "no"), *words, *more])
    with pytest.raises(PopulationError, match="--version belongs to --layout mavceleb"):
        population.main([str(tmp_path / "no"), "--version", "v1"])
    assert not (tmp_path / "no").exists()


def test_check_knows_the_layout(tree, copy, capsys):
    assert check.main([str(tree.parent), "--workers", "1", "--quiet", "--cache", str(copy.parent)]) == 0
    text = capsys.readouterr().out
    assert "MAV-Celeb v2" in text and "English_test.txt" in text and "complete" in text
    report = check_mavceleb(copy, workers=1, progress=False)
    assert report.splits["train"].identities == 5 and report.splits["test"].voices == 12
    assert not report.errors and not report.warnings


def test_check_names_a_test_file_that_is_trained_on(copy):
    source = next(copy.glob("voices/id*/English/*/*.wav"))
    shutil.copy(source, copy / "voices" / "English" / "00000.wav")
    report = check_mavceleb(copy, workers=1, progress=False)
    assert any("1 test files have the content of a training file" in text for text in report.errors)


def test_check_names_a_test_identity_that_is_trained_on(copy):
    table = copy / "truth" / "speakers.csv"
    table.write_text(table.read_text().replace(",train,", ",test,", 1))
    report = check_mavceleb(copy, workers=1, progress=False)
    assert any("1 identities of the test are trained on" in text for text in report.errors)


def test_check_names_missing_and_damaged_files_and_lists(copy):
    (copy / "faces" / "English" / "00000.jpg").unlink()
    (copy / "voices" / "English" / "00001.wav").write_bytes(b"RIFF")
    (copy / "lists" / "Hindi_test.txt").write_text("one two\n")
    report = check_mavceleb(copy, workers=1, progress=False)
    assert [cover.missing for cover in report.trial_lists] == [1, 0]
    assert "line 1: 2 fields" in report.trial_lists[1].error
    assert list(report.unreadable) == ["voices/English/00001.wav"]


def test_files_that_are_listed_and_absent_are_named(copy):
    (copy / "lists" / "English_train.txt").write_text("a voices/x.wav faces/y.jpg\n")
    with pytest.raises(MavCelebError, match=r"2 listed files are missing: faces/y.jpg, voices/x.wav"):
        layout.open_training_corpus(copy, "v2", ["English"])
    with pytest.raises(MavCelebError, match="unknown language 'Urdu'; v2 has English and Hindi"):
        layout.open_training_corpus(copy, "v2", ["Urdu"])


def test_a_version_is_found_by_its_languages(tree, tmp_path):
    assert layout.find_version(tree) == "v2" and layout.find_version_root(tree.parent, "v2") == tree
    assert layout.find_version_root(tree, "v2") == tree
    (tmp_path / "voices").mkdir()
    assert not layout.is_mavceleb(tmp_path)
    with pytest.raises(MavCelebError, match="name the version"):
        layout.find_version(tmp_path)
    with pytest.raises(MavCelebError, match="has no folders voices and faces"):
        layout.find_version_root(tmp_path, "v1")
