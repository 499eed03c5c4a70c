"""Trial lists of the association systems that are absent, in part and whole, and files that they name."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import test_published_archetype_agnostic as archetype_agnostic
import test_published_cmpc2 as cmpc2
import test_published_seeking_shape as seeking_shape
from association_systems import AssociationSystem, read_results, read_unavailable
from cmpc_tree import write_cmpc, write_cmpc_lists
from training_cycle import is_validation
from trees import write_voxceleb
from voiceface.association.config import TEST_LISTS
from voiceface.commandline.exit_status import ERROR, INCOMPLETE, SUCCESS
from voiceface.testing.runs import read_log_without_clock

Capture = pytest.CaptureFixture[str]
SYSTEMS = ("seeking_shape", "archetype_agnostic", "cmpc2")
TWINS = {"wav_20k": "jpg_20k", "jpg_20k": "wav_20k"}  # each is the gallery of the other


@dataclass(frozen=True)
class Subject:
    """A system with its bundled weights, a data folder, and all trial lists in a folder of their own."""

    system: AssociationSystem
    data: Path
    lists: Path
    names: tuple[str, ...]
    cache: Path

    def test(self, lists: Path, out: Path, *words: object, names: Sequence[str] = ()) -> int:
        """Exit status of `test` on these lists; `names`: all."""
        named = [word for name in names or self.names for word in ("--list", name)]
        flags = ("--data", self.data, "--lists", lists, "--cache", self.cache, "--workers", 1)
        return self.system.call("test", *flags, "--out", out, *named, *words)

    def without(self, folder: Path, *names: str) -> Path:
        """Copy the list folder without these lists."""
        shutil.copytree(self.lists, folder)
        for name in names:
            find_list(folder, name).unlink()
        return folder


def find_list(folder: Path, name: str) -> Path:
    """The file of a list below a folder."""
    (path,) = folder.rglob(f"{name}.*")
    return path


def read_metrics(out: Path) -> dict[str, Any]:
    """Everything in `results.json` about every list."""
    return {each["name"]: each for each in json.loads((out / "results.json").read_text())["lists"]}


@pytest.fixture(scope="module")
def subjects(population: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Subject]:
    root = tmp_path_factory.mktemp("subjects")
    voxceleb = write_voxceleb(population, root / "VOX1")
    cmpc = write_cmpc(population, root / "CMPC")
    cmpc_lists = write_cmpc_lists(cmpc, root / "CMPC_LISTS")
    voxceleb_lists = root / "VOX1_LISTS"
    voxceleb_lists.mkdir()
    for name in TEST_LISTS:
        shutil.move(voxceleb / "list_wav" / f"{name}.txt", voxceleb_lists)

    def build(name: str) -> Subject:
        cache = root / f"cache_{name}"
        if name == "cmpc2":
            return Subject(cmpc2.SYSTEM, cmpc, cmpc_lists, cmpc2.LISTS, cache)
        system = {"seeking_shape": seeking_shape, "archetype_agnostic": archetype_agnostic}[name].SYSTEM
        return Subject(system, voxceleb, voxceleb_lists, tuple(TEST_LISTS), cache)

    return build


@pytest.fixture(params=SYSTEMS)
def subject(request: pytest.FixtureRequest, subjects: Callable[[str], Subject]) -> Subject:
    return subjects(request.param)


@pytest.fixture
def complete(subject: Subject, tmp_path: Path) -> dict[str, Any]:
    """Results on all lists."""
    assert subject.test(subject.lists, tmp_path / "complete") == SUCCESS
    results = read_metrics(tmp_path / "complete")
    assert set(results) == set(subject.names)
    return results


def test_an_absent_list_costs_no_other(
    subject: Subject, complete: dict[str, Any], tmp_path: Path, capsys: Capture
) -> None:
    """Every list in turn, with both modes."""
    for name in subject.names:
        lists, out = subject.without(tmp_path / name / "lists", name), tmp_path / name / "out"
        lost = {name, TWINS.get(name, name)}
        capsys.readouterr()
        assert subject.test(lists, out) == ERROR
        message = capsys.readouterr().err
        assert name in message and message.count("error: ") == 1 and not out.exists()
        assert subject.test(lists, out, "--missing", "skip") == INCOMPLETE
        printed = capsys.readouterr()
        assert read_metrics(out) == {key: value for key, value in complete.items() if key not in lost}
        reasons = read_unavailable(out)
        assert set(reasons) == lost
        for each, reason in reasons.items():
            line = f"not computed: {each}: {reason}"
            assert line in printed.err and line in printed.out
            assert reason in (out / "report.html").read_text()
        assert f"{len(lost)} result" in printed.err and "exit status 3" in printed.err


def test_without_any_list_nothing_is_written(subject: Subject, tmp_path: Path, capsys: Capture) -> None:
    lists = subject.without(tmp_path / "lists", *subject.names)
    for mode in ("error", "skip"):
        capsys.readouterr()
        assert subject.test(lists, tmp_path / "out", "--missing", mode) == ERROR
        message = capsys.readouterr().err
        assert all(name in message for name in subject.names) and message.count("error: ") == 1
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("mode", ["error", "skip"])
def test_folder_of_cmpc_without_lists_is_named(
    mode: str, subjects: Callable[[str], Subject], tmp_path: Path, capsys: Capture
) -> None:
    """The published lists lie in another folder than the data."""
    subject = subjects("cmpc2")
    words = ("--data", subject.data, "--out", tmp_path / "out", "--missing", mode)
    assert subject.system.call("test", *words) == ERROR
    message = capsys.readouterr().err
    assert "no trial lists below" in message and "--lists FOLDER" in message and "--generate-lists" in message
    assert not (tmp_path / "out").exists()


def test_absent_lists_are_generated_on_request(subjects: Callable[[str], Subject], tmp_path: Path) -> None:
    """A part of the lists, and all of them; also of a folder of CMPC, which has lists of other names."""
    subject, names = subjects("seeking_shape"), TEST_LISTS[:2]
    for folder, absent in (("part", names), ("all", TEST_LISTS)):
        lists = subject.without(tmp_path / folder / "lists", *absent)
        for mode in ("error", "skip"):
            out = tmp_path / folder / mode
            assert subject.test(lists, out, "--generate-lists", 0, "--missing", mode) == SUCCESS
            results = read_metrics(out)
            assert set(results) == set(TEST_LISTS)
            assert {name for name, each in results.items() if each["generated_list"]} == set(absent)
            assert not read_unavailable(out)
    cmpc = subjects("cmpc2")
    words = ("--data", cmpc.data, "--out", tmp_path / "cmpc", "--generate-lists", 0)
    assert cmpc.system.call("test", *words) == SUCCESS
    assert set(read_results(tmp_path / "cmpc")) == set(TEST_LISTS)


def test_a_list_whose_files_are_absent_costs_no_other(
    subject: Subject, complete: dict[str, Any], tmp_path: Path, capsys: Capture
) -> None:
    """A list with no file at all, one with a wrong line, one with a part of its files."""
    absent, wrong, partial = subject.names[0], subject.names[5], subject.names[3]
    lists = subject.without(tmp_path / "lists")
    path = find_list(lists, absent)
    path.write_text(path.read_text().replace(".jpg", "_absent.jpg"))
    path = find_list(lists, wrong)
    path.write_text(path.read_text() + "one/two.wav three/four.jpg five/six.jpg seven/eight.jpg\n")
    path = find_list(lists, partial)
    first, *others = path.read_text().splitlines(keepends=True)
    path.write_text("".join([first.replace(".jpg", "_absent.jpg"), *others]))
    out = tmp_path / "out"
    assert subject.test(lists, out) == ERROR
    message = capsys.readouterr().err
    assert all(name in message for name in (absent, wrong, partial)) and not out.exists()
    assert not any(f"{name}: " in message for name in subject.names if name not in (absent, wrong, partial))
    assert subject.test(lists, out, "--missing", "skip") == INCOMPLETE
    assert f"skipped: {partial}: 1 " in capsys.readouterr().err
    assert set(read_unavailable(out)) == {absent, wrong}
    results = read_metrics(out)
    assert results[partial]["counts"] != complete[partial]["counts"]
    for name in set(subject.names) - {absent, wrong, partial}:
        assert results[name] == complete[name]


def test_absent_recordings_cost_their_trials(
    subjects: Callable[[str], Subject], tmp_path: Path, capsys: Capture
) -> None:
    """One test identity without its folder of recordings."""
    for name in SYSTEMS:
        subject = subjects(name)
        data = Path(shutil.copytree(subject.data, tmp_path / name / "data"))
        gone = max((data / "wav").glob("id101*"))
        shutil.rmtree(gone)
        flags = ("--data", data, "--lists", subject.lists, "--workers", 1, "--out", tmp_path / name / "out")
        capsys.readouterr()
        assert subject.system.call("test", *flags) == ERROR
        assert gone.name in capsys.readouterr().err and not (tmp_path / name / "out").exists()
        assert subject.system.call("test", *flags, "--missing", "skip") == SUCCESS
        assert set(read_results(tmp_path / name / "out")) == set(subject.names)


@pytest.mark.parametrize("name", ["seeking_shape", "archetype_agnostic"])
def test_absent_validation_list_is_generated(
    name: str, subjects: Callable[[str], Subject], tmp_path: Path, capsys: Capture
) -> None:
    """If it names absent files, it is an error, or their trials are skipped."""
    subject = subjects(name)
    lists = Path(shutil.copytree(subject.data / "list_wav", tmp_path / "lists"))
    words = ("--cfg", "main", "--data", subject.data, "--lists", lists)
    trials = lists / "match_v2f_2_val.txt"
    first, *others = trials.read_text().splitlines(keepends=True)
    trials.unlink()
    run = subject.system.train_briefly(tmp_path / "absent", *words)
    assert any(map(is_validation, read_log_without_clock(run)))
    trials.write_text("".join([first.replace(".jpg", "_absent.jpg"), *others]))
    capsys.readouterr()
    run = subject.system.train_briefly(tmp_path / "error", *words, status=ERROR)
    message = capsys.readouterr().err
    assert trials.stem in message and "_absent.jpg" in message and not run.exists()
    run = subject.system.train_briefly(tmp_path / "skip", *words, "--missing", "skip")
    assert any(map(is_validation, read_log_without_clock(run)))
