"""Contract for `test`: results and report, lists and files that are absent or cannot be used."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from voiceface.association.config import TEST_LISTS
from voiceface.commandline.exit_status import ERROR, INCOMPLETE, STOPPED, SUCCESS
from voiceface.embeddings.table import EmbeddingTable
from voiceface.testing.commands import CommandRunner
from voiceface.testing.corrupt_files import assert_mentions

if TYPE_CHECKING:
    from voiceface.association.embedder import Embedder

__all__ = ["EvaluationContract"]

Capture = pytest.CaptureFixture[str]
GOOD_LIST, ONE_SIDED_LIST, EMPTY_LIST = "match_v2f_2_test", "verify_g_v2f_test", "match_f2v_2_test"


def read_results(out: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Lists by name, and reasons of the unavailable results by name, of a results.json."""
    results = json.loads((out / "results.json").read_text())
    return (
        {entry["name"]: entry for entry in results["lists"]},
        {entry["name"]: entry["reason"] for entry in results["unavailable"]},
    )


class EvaluationContract:
    """The command `test`."""

    @pytest.fixture
    def write_lists(self, corpus_copy: Path) -> Callable[..., Path]:
        """Write the lists of these names for the copy of the population; returns their folder."""

        def write(*names: str) -> Path:
            from voiceface.association.data import load_split, load_trial_lists
            from voiceface.datasets.trials.reading import write_trial_lists

            lists = load_trial_lists(corpus_copy, names, load_split(corpus_copy, "test"), generation_seed=3)
            folder = corpus_copy / "list_wav"
            write_trial_lists(folder, lists)
            return folder

        return write

    @pytest.fixture
    def flawed_lists(self, corpus_copy: Path, write_lists: Callable[..., Path]) -> Path:
        """Write a usable list, one of matching pairs only, and one whose files are all absent."""
        from voiceface.association.data import load_split
        from voiceface.datasets.trials.reading import read_trial_list

        folder = write_lists(GOOD_LIST, ONE_SIDED_LIST, EMPTY_LIST)
        path = folder / f"{ONE_SIDED_LIST}.txt"
        labels, lines = read_trial_list(path, load_split(corpus_copy, "test")).labels, path.read_text()
        assert labels is not None
        path.write_text("".join(line for line, same in zip(lines.splitlines(keepends=True), labels) if same))
        path = folder / f"{EMPTY_LIST}.txt"
        path.write_text(path.read_text().replace(".jpg", "_absent.jpg"))
        return folder

    @pytest.fixture
    def never_encode(self, embedder: "Embedder", monkeypatch: pytest.MonkeyPatch) -> None:
        """Let the test fail if anything is encoded."""
        for name in ("encode_voices", "encode_faces"):
            monkeypatch.setattr(type(embedder), name, lambda *_: pytest.fail("a file was encoded"))

    @pytest.fixture
    def words(self, corpus_copy: Path, trained: Path) -> list[str | Path]:
        """Words of `test` on the copy of the population, without --out."""
        return ["test", "--data", corpus_copy, "--weights", trained, "--workers", "1"]

    def test_evaluation_writes_results_and_report(
        self, call: CommandRunner, population: Path, trained: Path, embedder: "Embedder", tmp_path: Path
    ) -> None:
        import torch

        out, names = tmp_path / "results", ["match_v2f_2_test", "verify_g_f2v_test"]
        words = ["--data", population, "--weights", trained, "--out", out, "--generate-lists", "3"]
        assert (
            call("test", *words, "--workers", "1", *(word for name in names for word in ("--list", name)))
            == 0
        )
        results = json.loads((out / "results.json").read_text())
        assert [entry["name"] for entry in results["lists"]] == names
        assert results["leaked_identities"] == []
        page = (out / "report.html").read_text()
        assert embedder.disclaimer in page and "oracle upper bound" in page
        table = EmbeddingTable.load(out / "voices.npz")
        # files of data folders are used whole, unlike people's own recordings
        voice = torch.from_numpy(embedder.load_voice(population / "wav" / table.items[0])[None])
        assert np.allclose(table.vectors[0], embedder.encode_voices(voice)[0].cpu().numpy(), atol=1e-5)

    def test_evaluation_on_training_identities_names_them(
        self, call: CommandRunner, population: Path, trained: Path, embedder: "Embedder", tmp_path: Path
    ) -> None:
        words = ["--data", population, "--weights", trained, "--split", "train", "--generate-lists", "3"]
        assert call("test", *words, "--out", tmp_path / "results", "--list", "match_v2f_2_train") == 0
        results = json.loads((tmp_path / "results" / "results.json").read_text())
        assert sorted(results["leaked_identities"]) == sorted(embedder.identity_names or ())

    def test_evaluation_names_missing_lists(
        self, call: CommandRunner, population: Path, trained: Path, tmp_path: Path, capsys: Capture
    ) -> None:
        words = ["--data", population, "--weights", trained, "--out", tmp_path / "results"]
        assert call("test", *words) == 1
        assert_mentions(capsys.readouterr().err, "error: ", "10 of 10", *TEST_LISTS, "--generate-lists")

    def test_evaluation_refuses_or_skips_corrupt_files(
        self,
        call: CommandRunner,
        corpus_copy: Path,
        trained: Path,
        tmp_path: Path,
        capsys: Capture,
    ) -> None:
        from voiceface.association.data import load_split

        item = load_split(corpus_copy, "test").records[0].voices[0]
        (corpus_copy / "wav" / item).write_bytes(b"no audio")
        words = ["--data", corpus_copy, "--weights", trained, "--out", tmp_path / "results"]
        words += ["--generate-lists", "3", "--list", "match_v2f_2_test"]
        assert call("test", *words) == 1
        assert_mentions(capsys.readouterr().err, "error: ", item, "--missing skip")
        assert call("test", *words, "--missing", "skip") == 0
        assert item not in EmbeddingTable.load(tmp_path / "results" / "voices.npz")

    def test_evaluation_names_all_files_of_another_kind_before_it_encodes_any(
        self, call: CommandRunner, corpus_copy: Path, trained: Path, tmp_path: Path, capsys: Capture
    ) -> None:
        from voiceface.association.data import load_split

        corpus = load_split(corpus_copy, "test")
        voices, faces = corpus.records[0].voices[:1], corpus.records[-1].faces[:2]
        corpus.voice_path(voices[0]).write_bytes(b"")
        corpus.face_path(faces[0]).write_bytes(b"<!doctype html><html><body>404</body></html>")
        corpus.face_path(faces[1]).write_bytes(bytes(5000))
        words = ["--data", corpus_copy, "--weights", trained, "--out", tmp_path / "results"]
        words += ["--generate-lists", "3", "--list", "match_v2f_2_test"]
        assert call("test", *words) == ERROR
        said = capsys.readouterr().err
        assert_mentions(said, "error: 3 files", f"{voices[0]} is an empty file", "--missing skip")
        assert_mentions(said, f"{faces[0]} is a web page", f"{faces[1]} is filled with zeros")
        assert not (tmp_path / "results").exists()  # also no cache
        assert call("test", *words, "--missing", "skip") == SUCCESS

    # results that cannot be computed

    def test_evaluation_computes_the_lists_that_can_be_computed(
        self,
        call: CommandRunner,
        words: Sequence[str | Path],
        flawed_lists: Path,
        tmp_path: Path,
        capsys: Capture,
    ) -> None:
        names = [word for name in (EMPTY_LIST, GOOD_LIST, ONE_SIDED_LIST) for word in ("--list", name)]
        absent = ["--list", "match_v2f_10_test"]
        options = ["--missing", "skip", "--out", tmp_path / "out"]
        assert call(*words, *names, *absent, *options) == INCOMPLETE
        output = capsys.readouterr()
        lists, reasons = read_results(tmp_path / "out")
        assert [*lists] == [GOOD_LIST]
        assert [*reasons] == [EMPTY_LIST, ONE_SIDED_LIST, "match_v2f_10_test"]
        assert_mentions(reasons[EMPTY_LIST], "no trial remains")
        assert_mentions(reasons[ONE_SIDED_LIST], "matching and mismatching pairs", " and 0")
        assert_mentions(reasons["match_v2f_10_test"], flawed_lists, "--generate-lists")
        page = (tmp_path / "out" / "report.html").read_text()
        for name, reason in reasons.items():
            line = f"not computed: {name}: {reason}"
            assert line in output.err and line in output.out and reason in page
        assert "3 results could not be computed" in output.err
        assert call(*words, "--list", GOOD_LIST, "--out", tmp_path / "alone") == SUCCESS
        alone, nothing = read_results(tmp_path / "alone")
        assert alone == lists and not nothing

    def test_evaluation_names_everything_absent_before_it_encodes_anything(
        self,
        call: CommandRunner,
        words: Sequence[str | Path],
        flawed_lists: Path,
        never_encode: None,
        tmp_path: Path,
        capsys: Capture,
    ) -> None:
        names = [GOOD_LIST, ONE_SIDED_LIST, EMPTY_LIST, "match_v2f_10_test"]
        options = [word for name in names for word in ("--list", name)]
        assert call(*words, *options, "--out", tmp_path / "out") == ERROR
        message = capsys.readouterr().err
        assert_mentions(message, f"{EMPTY_LIST}: ", "_absent.jpg", ONE_SIDED_LIST, "matching and mismatching")
        assert_mentions(message, "1 of 4 trial lists are not in", "match_v2f_10_test")
        assert GOOD_LIST not in message and not (tmp_path / "out").exists()

    def test_absent_folders_and_the_files_of_all_lists_are_named_together(
        self,
        call: CommandRunner,
        words: Sequence[str | Path],
        write_lists: Callable[..., Path],
        corpus_copy: Path,
        never_encode: None,
        tmp_path: Path,
        capsys: Capture,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        from voiceface.association.data import load_split

        names = [GOOD_LIST, ONE_SIDED_LIST]
        write_lists(*names)
        voice = load_split(corpus_copy, "test").records[0].voices[0].partition("/")[0]
        shutil.rmtree(corpus_copy / "wav" / voice)
        options = [word for name in names for word in ("--list", name)]
        assert call(*words, *options, "--out", tmp_path / "out") == ERROR
        message = capsys.readouterr().err
        assert_mentions(message, "1 folders of the identity table are missing", corpus_copy / "wav" / voice)
        for name in names:
            assert_mentions(message, f"{name}: ", " listed files are missing", f"{voice}/")
        assert "have no identity" not in message and "skipped" not in caplog.text

    def test_evaluation_without_any_usable_list_ends_before_it_encodes_anything(
        self,
        call: CommandRunner,
        words: Sequence[str | Path],
        flawed_lists: Path,
        never_encode: None,
        tmp_path: Path,
        capsys: Capture,
    ) -> None:
        options = ["--list", EMPTY_LIST, "--list", ONE_SIDED_LIST, "--missing", "skip"]
        assert call(*words, *options, "--out", tmp_path / "out") == ERROR
        assert_mentions(capsys.readouterr().err, "none of the lists", EMPTY_LIST, ONE_SIDED_LIST)
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("num_left", [1, 2, 4])
    def test_every_requested_result_is_computed_or_has_a_reason(
        self,
        call: CommandRunner,
        words: Sequence[str | Path],
        write_lists: Callable[..., Path],
        corpus_copy: Path,
        tmp_path: Path,
        num_left: int,
    ) -> None:
        from voiceface.association.data import load_split

        write_lists(*TEST_LISTS)
        for record in load_split(corpus_copy, "test").records[num_left:]:
            shutil.rmtree(corpus_copy / "wav" / record.voices[0].partition("/")[0])
        status = call(*words, "--missing", "skip", "--out", tmp_path / "out")
        lists, reasons = read_results(tmp_path / "out")
        assert status == (INCOMPLETE if reasons else SUCCESS)
        assert sorted([*lists, *(name for name in reasons if name in TEST_LISTS)]) == sorted(TEST_LISTS)
        assert ("all pairs of identities" in reasons) == (num_left < 3)
        for entry in lists.values():
            assert all(metric["value"] is not None for metric in entry["metrics"].values()), entry["name"]

    def test_list_whose_files_cannot_be_decoded_gets_a_reason(
        self,
        call: CommandRunner,
        words: Sequence[str | Path],
        write_lists: Callable[..., Path],
        corpus_copy: Path,
        tmp_path: Path,
    ) -> None:
        folder = write_lists(GOOD_LIST, EMPTY_LIST)
        path = folder / f"{EMPTY_LIST}.txt"
        line = path.read_text().splitlines()[0]
        path.write_text(f"{line}\n")
        (corpus_copy / "wav" / line.split(" ")[1]).write_bytes(b"no audio")
        assert (
            call(*words, "--list", EMPTY_LIST, "--list", GOOD_LIST, "--missing", "skip", "--out", tmp_path)
            == 3
        )
        lists, reasons = read_results(tmp_path)
        assert [*lists] == [GOOD_LIST] and [*reasons] == [EMPTY_LIST]
        assert_mentions(reasons[EMPTY_LIST], "none of its 1 trials has all embeddings")

    def test_stopped_evaluation_leaves_the_lists_that_were_computed(
        self,
        call: CommandRunner,
        words: Sequence[str | Path],
        write_lists: Callable[..., Path],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        from voiceface.evaluation import evaluator

        write_lists(GOOD_LIST, EMPTY_LIST)
        options = ["--list", GOOD_LIST, "--list", EMPTY_LIST]
        assert call(*words, *options, "--out", tmp_path / "whole") == SUCCESS
        compute = evaluator._evaluate_pairs

        def stop_at_the_second(protocol: Any, trial_list: Any, *rest: Any) -> Any:
            if trial_list.name == EMPTY_LIST:
                raise KeyboardInterrupt
            return compute(protocol, trial_list, *rest)

        monkeypatch.setattr(evaluator, "_evaluate_pairs", stop_at_the_second)
        assert call(*words, *options, "--out", tmp_path / "stopped") == STOPPED
        (lists, reasons), (whole, _) = read_results(tmp_path / "stopped"), read_results(tmp_path / "whole")
        assert lists == {GOOD_LIST: whole[GOOD_LIST]}
        assert [*reasons] == [EMPTY_LIST] and "not computed yet" in reasons[EMPTY_LIST]
        tables = [tmp_path / name / "voices.npz" for name in ("stopped", "whole")]
        assert tables[0].read_bytes() == tables[1].read_bytes()

    def test_files_that_only_a_manifest_names_are_absent(
        self, call: CommandRunner, corpus_copy: Path, trained: Path, tmp_path: Path, capsys: Capture
    ) -> None:
        from voiceface.association.data import load_split

        corpus, root, header = load_split(corpus_copy, "test"), tmp_path / "own", "identity,modality,path"
        rows = [header]
        for record in corpus.records:
            files = [("voice", corpus.voice_path(item)) for item in record.voices]
            files += [("face", corpus.face_path(item)) for item in record.faces]
            rows += [f"{record.identity.name},{what},{path.relative_to(corpus_copy)}" for what, path in files]
        shutil.copytree(corpus_copy / "wav", root / "wav")
        shutil.copytree(corpus.face_root, root / corpus.face_root.relative_to(corpus_copy))
        absent = ["wav/absent.wav", "faces/absent.jpg"]
        rows += [f"{corpus.names[0]},{what},{item}" for what, item in zip(("voice", "face"), absent)]
        (root / "manifest.csv").write_text("\n".join(rows) + "\n")
        words = ["test", "--data", root, "--weights", trained, "--generate-lists", "3", "--list", GOOD_LIST]
        assert call(*words, "--out", tmp_path / "out") == ERROR
        assert_mentions(capsys.readouterr().err, "2 files", *absent, "--missing skip")
        assert not (tmp_path / "out").exists()
        assert call(*words, "--missing", "skip", "--out", tmp_path / "out") == SUCCESS
        assert_mentions(capsys.readouterr().err, "skipped: 2 absent files", *absent)
        assert "wav/absent.wav" not in EmbeddingTable.load(tmp_path / "out" / "voices.npz")
