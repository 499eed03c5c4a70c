"""`fop fame` from files to a checked submission, on tables of features and on the published CSV form."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fame_tree import FakeTree, write_tree
from fop.__main__ import main
from fop.fame.sources import CsvSource
from voiceface.datasets.mavceleb.layout import read_test_list
from voiceface.datasets.mavceleb.lists import MavCelebError

SMALL = (
    *("training.epochs=12", "training.batch_size=32", "training.validation_interval=6", "optimiser.lr=0.02"),
    *("model.embedding_dim=16", "model.attention_width=8", "model.dropout=0"),
)
NAMES = [
    f"sub_score_v1_{language}_{kind}.txt" for language in ("English", "Urdu") for kind in ("heard", "unheard")
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> FakeTree:
    return write_tree(tmp_path_factory.mktemp("fame"))


@pytest.fixture(scope="module")
def whole_run(tree, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run") / "out"
    assert (
        fame("run", "--data", tree.root.parent, "--cfg", "quick", "--out", out, *SMALL, *tree.tables()) == 0
    )
    return out


def fame(*words: object) -> int:
    """Run `fop fame`; the exit status."""
    try:
        return main(["fame", *map(str, words)])
    except SystemExit as stop:
        return int(stop.code or 0)


def test_one_command_trains_scores_checks_and_evaluates(tree, whole_run, capsys):
    folder = whole_run / "submissions"
    assert sorted(path.name for path in folder.iterdir()) == sorted(NAMES)
    found = json.loads((whole_run / "fame_results.json").read_text())
    rates = {(each["train"], each["test"]): each["eer"] for each in found["results"]}
    assert len(rates) == 4 and found["overall_eer"] == pytest.approx(np.mean(list(rates.values())))
    assert found["overall_eer"] < 0.35  # voices and faces follow from the person: chance is 0.5
    page = (whole_run / "fame.html").read_text()
    assert "sub_score_v1_Urdu_unheard.txt" in page and "fop fame run" in page
    for language in ("English", "Urdu"):
        stated = json.loads((whole_run / "runs" / language / "fame.json").read_text())
        assert stated == {"version": "v1", "language": language}
    capsys.readouterr()
    assert fame("evaluate", folder, "--data", tree.root, "--json", whole_run / "again.json") == 0
    assert "overall" in capsys.readouterr().out
    again = json.loads((whole_run / "again.json").read_text())
    assert {key: again[key] for key in ("results", "overall_eer")} == {
        key: found[key] for key in ("results", "overall_eer")
    }


def test_single_commands_give_the_bytes_of_the_whole_run(tree, whole_run, tmp_path, capsys):
    tables, data = tree.tables(), ("--data", tree.root)
    assert (
        fame("train", *data, "--heard", "Urdu", "--cfg", "quick", "--out", tmp_path / "run", *SMALL, *tables)
        == 0
    )
    assert fame("score", *data, "--weights", tmp_path / "run", "--out", tmp_path / "sub") == 0
    for kind, language in (("heard", "Urdu"), ("unheard", "English")):
        name = f"sub_score_v1_Urdu_{kind}.txt"
        assert (tmp_path / "sub" / name).read_bytes() == (whole_run / "submissions" / name).read_bytes()
        lists = tree.root / "lists" / f"{language}_test.txt"
        assert fame("check", tmp_path / "sub" / name, "--list", lists) == 0
    capsys.readouterr()
    assert fame("check", tmp_path / "sub" / name, "--list", tree.root / "lists" / "Urdu_test.txt") == 1
    text = capsys.readouterr().out
    assert "missing" in text and "foreign" in text and "name" in text
    assert fame("evaluate", tmp_path / "sub", "--data", tree.root) == 3
    assert "not evaluated: English to English" in capsys.readouterr().err


def test_names_can_follow_the_language_of_the_test(tree, whole_run, tmp_path):
    data = ("--data", tree.root)
    out = tmp_path / "sub"
    weights = whole_run / "runs" / "English"
    assert fame("score", *data, "--weights", weights, "--out", out, "--named-by", "test") == 0
    assert sorted(path.name for path in out.iterdir() if path.is_file()) == [NAMES[0], NAMES[3]]
    same = (out / NAMES[3]).read_bytes() == (whole_run / "submissions" / NAMES[1]).read_bytes()
    assert same


def test_hidden_labels_leave_submissions_without_figures(tree, tmp_path, capsys):
    root = shutil.copytree(tree.root, tmp_path / "data" / "v1")
    shutil.rmtree(root / "truth")
    words = ("--data", root, "--cfg", "quick", "--out", tmp_path / "out", *SMALL, *tree.tables())
    assert fame("run", *words, "training.epochs=1") == 0
    assert "the labels are hidden" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out" / "submissions").iterdir()) == sorted(NAMES)
    assert fame("evaluate", tmp_path / "out" / "submissions", "--data", root) == 1
    assert "no submission could be evaluated" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["person", "file"])
def test_training_on_the_test_is_refused(tree, tmp_path, capsys, kind):
    root = shutil.copytree(tree.root, tmp_path / "data" / "v1")
    if kind == "person":
        (root / "truth" / "speakers.csv").write_text("identity,split,languages\nid0003,test,English Urdu\n")
    else:
        shutil.copy(
            root / "faces" / "Urdu" / "00000.jpg", root / "faces" / "id0003" / "Urdu" / "a" / "00000.jpg"
        )
    words = ("--data", root, "--cfg", "quick", *SMALL, *tree.tables())
    assert fame("train", *words, "--heard", "Urdu", "--out", tmp_path / "run") == 1
    expected = {
        "person": "1 identities of the test are trained on (id0003)",
        "file": "1 test files have the content",
    }
    assert expected[kind] in capsys.readouterr().err
    assert fame("run", *words, "--out", tmp_path / "all") == 1
    assert not (tmp_path / "run" / "model.safetensors").exists() and not (tmp_path / "all" / "runs").exists()


def write_csv(tree: FakeTree, folder: Path) -> Path:
    """Feature files of the published programs: rows of voices and faces belong together."""
    (folder / "v1").mkdir(parents=True)
    for language in ("English", "Urdu"):
        pairs = read_test_list(tree.root, "v1", language)
        sides = (("voices", tree.voices, pairs.voices), ("faces", tree.faces, pairs.faces))
        for side, features, tested in sides:
            items = sorted(item for item in features if f"/{language}/a/" in item)
            labels = [int(item.split("/")[1][2:]) for item in items]
            rows = np.column_stack([np.stack([features[item] for item in items]), labels])
            np.savetxt(folder / "v1" / f"{language}_{side}_train.csv", rows, delimiter=",", fmt="%.9g")
            rows = np.stack([features[item] for item in tested])
            np.savetxt(folder / "v1" / f"{language}_{side}_test.csv", rows, delimiter=",", fmt="%.9g")
    return folder


def test_published_feature_files_run_as_published(tree, tmp_path, capsys):
    folder = write_csv(tree, tmp_path / "csv")
    words = ("--features", folder, "--lists", tree.root, "--version", "v1", "--out", tmp_path / "out")
    small = (*SMALL[1:2], *SMALL[4:], "training.epochs=20", "model.voice_dim=null", "model.face_dim=null")
    assert fame("run", *words, "--cfg", "published_fame", *small) == 0
    found = json.loads((tmp_path / "out" / "fame_results.json").read_text())
    assert len(found["results"]) == 4 and found["overall_eer"] < 0.45
    assert fame("run", *words, "--resume", "--cfg", "published_fame", *small) == 0
    assert json.loads((tmp_path / "out" / "fame_results.json").read_text()) == found


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        ((), "no test list of English or Urdu in"),
        (("English",), "no test list of Urdu in"),
        (("English", "Urdu"), ""),
    ],
)
def test_training_says_which_tests_it_was_not_checked_against(tree, tmp_path, capsys, lists, said):
    root = shutil.copytree(tree.root, tmp_path / "data" / "v1")
    for path in (root / "lists").iterdir():
        if path.name not in [f"{each}_test.txt" for each in lists] and "test" in path.name:
            path.unlink()
    words = ("--data", root, "--heard", "Urdu", "--version", "v1", "--cfg", "quick", "--out", tmp_path / "r")
    assert fame("train", *words, *SMALL, *tree.tables(), "training.epochs=6") == 0
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: no test list")]
    assert len(told) == bool(said) and all(said in line and "_test.txt there" in line for line in told)


def test_rows_of_the_test_among_those_of_the_training_are_refused(tree, tmp_path):
    folder = write_csv(tree, tmp_path / "csv")
    source = CsvSource(tree.root, "v1", folder)
    assert not source.find_leak("English")
    train, test = (folder / "v1" / f"English_faces_{part}.csv" for part in ("train", "test"))
    lines = train.read_text().splitlines()
    first = test.read_text().splitlines()[0]
    train.write_text("\n".join([first + ",3", *lines[1:]]) + "\n")
    leak = CsvSource(tree.root, "v1", folder).find_leak("English")
    assert leak.files[0][0] == "English training faces, row 1"


def test_feature_files_that_do_not_fit_are_named(tree, tmp_path):
    folder = write_csv(tree, tmp_path / "csv")
    path = folder / "v1" / "Urdu_voices_test.csv"
    path.write_text("\n".join(path.read_text().splitlines()[1:]))
    with pytest.raises(MavCelebError, match=r"has 47 rows and Urdu_test 48 lines"):
        CsvSource(tree.root, "v1", folder).load_test("Urdu")
    shutil.copy(path, folder / "Urdu_voices_test.csv")
    with pytest.raises(MavCelebError, match="several feature files for Urdu, voice, test"):
        CsvSource(tree.root, "v1", folder).find("Urdu", "voice", "test")
    with pytest.raises(FileNotFoundError, match="no feature file below"):
        CsvSource(tree.root, "v1", folder).find("German", "voice", "test")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run", "--features", ".", "--cfg", "quick", "--out", "x"], "--features needs --lists"),
        (
            ["run", "--features", ".", "--lists", ".", "--cfg", "quick", "--out", "x"],
            "--features needs --version",
        ),
        (["train", "--data", ".", "--cfg", "quick", "--out", "x"], "--heard"),
        (["check", "a", "--list", "b", "--list", "c"], "expected one test list"),
        ([], "COMMAND"),
    ],
)
def test_a_bad_command_line_is_refused(words, expected, capsys):
    assert fame(*words) == 2
    assert expected in capsys.readouterr().err


def test_what_is_not_there_is_named(tree, whole_run, tmp_path, capsys):
    weights = whole_run / "runs" / "Urdu"
    for words, expected in (
        (
            ("check", tmp_path / "no.txt", "--list", tree.root / "lists" / "Urdu_test.txt"),
            "no.txt, expected a file that `fop fame score`",
        ),
        (("evaluate", tmp_path / "no", "--data", tree.root), "nothing at"),
        (
            ("score", "--data", tree.root, "--weights", weights, "--heard", "English", "--out", tmp_path),
            "was trained on Urdu",
        ),
        (
            ("train", "--data", tree.root, "--heard", "Hindi", "--cfg", "quick", "--out", tmp_path / "r"),
            "v1 has English and Urdu",
        ),
    ):
        assert fame(*words) == 1
        assert expected in capsys.readouterr().err
