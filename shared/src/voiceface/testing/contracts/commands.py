"""Contract for `embed` and `match`: tables, rankings, and files that cannot be decoded."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from voiceface.embeddings.table import EmbeddingTable
from voiceface.encoders.records import stated_encoders
from voiceface.gallery.places import create_gallery
from voiceface.gallery.tables import add_rows, rows_of_table
from voiceface.testing.commands import CommandRunner
from voiceface.testing.corrupt_files import assert_mentions

if TYPE_CHECKING:
    from voiceface.association.embedder import Embedder

__all__ = ["CommandContract"]

Capture = pytest.CaptureFixture[str]


def store_table(table: EmbeddingTable, place: Path) -> None:
    """Write a stored gallery of faces."""
    with create_gallery(
        place, table.vectors.shape[1], fingerprint=table.fingerprint, modality="face"
    ) as gallery:
        add_rows(gallery, rows_of_table(table))


class CommandContract:
    """Commands that read a trained model."""

    @pytest.fixture
    def media(self, utterances: list[Path], images: list[Path], tmp_path: Path) -> Path:
        """Write a folder of two utterances, two images and a file of neither kind."""
        folder = tmp_path / "media"
        folder.mkdir()
        for number in range(2):
            shutil.copy(utterances[number], folder / f"v{number}.wav")
            shutil.copy(images[number], folder / f"f{number}.jpg")
        (folder / "notes.txt").write_text("neither utterance nor image")
        return folder

    # embed

    @pytest.mark.parametrize("suffix", [".npz", ".parquet", ".feather"])
    def test_embed_writes_one_table(
        self,
        call: CommandRunner,
        media: Path,
        trained: Path,
        embedder: "Embedder",
        tmp_path: Path,
        suffix: str,
    ) -> None:
        out = tmp_path / f"table{suffix}"
        words = [media, "--weights", trained, "--out", out, "--relative-to", media, "--workers", "1"]
        assert call("embed", *words) == 0
        table = EmbeddingTable.load(out)
        assert table.items == ["v0.wav", "v1.wav", "f0.jpg", "f1.jpg"]
        assert table.fingerprint == embedder.fingerprint
        voices = embedder.embed_voices([media / "v0.wav", media / "v1.wav"])
        faces = embedder.embed_faces([media / "f0.jpg", media / "f1.jpg"])
        assert np.allclose(table.vectors, np.concatenate([voices, faces]), atol=1e-5)

    @pytest.mark.parametrize("pattern", ["*.wav", "*.jpg"])
    def test_embed_goes_on_if_one_modality_cannot_be_decoded(
        self,
        call: CommandRunner,
        media: Path,
        trained: Path,
        tmp_path: Path,
        capsys: Capture,
        pattern: str,
    ) -> None:
        corrupt = sorted(media.glob(pattern))
        for path in corrupt:
            path.write_bytes(b"")
        out = tmp_path / "table.npz"
        assert call("embed", media, "--weights", trained, "--out", out) == 0
        table = EmbeddingTable.load(out)
        assert len(table) == 2
        assert_mentions(capsys.readouterr().err, *corrupt)
        stated = stated_encoders(table)
        assert [info.modality for info in stated] == ["voice", "face"]
        assert {(info.fingerprint, info.dimension) for info in stated} == {
            (table.fingerprint, table.vectors.shape[1])
        }
        assert all(info.wants and info.name.endswith(f":{trained}") for info in stated)

    def test_embed_refuses_or_salvages_truncated_utterances(
        self,
        call: CommandRunner,
        media: Path,
        trained: Path,
        tmp_path: Path,
        capsys: Capture,
    ) -> None:
        path, out = media / "v0.wav", tmp_path / "table.npz"
        path.write_bytes(path.read_bytes()[: 3 * path.stat().st_size // 4])
        words = ["embed", media, "--weights", trained, "--out", out]
        assert call(*words) == 0
        assert_mentions(capsys.readouterr().err, path, "truncated")
        assert path.as_posix() not in EmbeddingTable.load(out)
        assert call(*words, "--on-corrupt", "salvage") == 0
        assert path.as_posix() in EmbeddingTable.load(out)
        assert_mentions(capsys.readouterr().err, f"{path}: 0.2", "lost")

    def test_embed_resamples_or_refuses_another_sampling_rate(
        self, call: CommandRunner, media: Path, trained: Path, tmp_path: Path, capsys: Capture
    ) -> None:
        import soundfile

        tone = np.sin(np.arange(44_100) * 2 * np.pi * 300 / 44_100) * 0.3
        soundfile.write(media / "cd.wav", tone, 44_100)
        words = ["embed", media, "--weights", trained, "--out", tmp_path / "table.npz"]
        assert call(*words) == 0
        assert call(*words, "--resample", "never", "--strict") == 1
        assert_mentions(capsys.readouterr().err, "cd.wav", "44100", "16000")

    def test_stopped_embed_resumes_to_the_same_bytes(
        self,
        call: CommandRunner,
        media: Path,
        trained: Path,
        embedder: "Embedder",
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        words, whole, out = [media, "--weights", trained], tmp_path / "whole.npz", tmp_path / "stopped.npz"
        assert call("embed", *words, "--out", whole) == 0
        embedder_type = type(embedder)

        def stop(*_: object) -> Iterator[None]:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(embedder_type, "encode_faces", stop)
            assert call("embed", *words, "--out", out) == 130
        assert not out.exists()
        monkeypatch.setattr(
            embedder_type, "encode_voices", lambda *_: pytest.fail("an utterance was encoded again")
        )
        assert call("embed", *words, "--out", out) == 0
        assert out.read_bytes() == whole.read_bytes()

    def test_embed_encodes_changed_files_again(
        self, call: CommandRunner, media: Path, trained: Path, tmp_path: Path
    ) -> None:
        import soundfile

        out = tmp_path / "table.npz"
        assert call("embed", media, "--weights", trained, "--out", out) == 0
        before = EmbeddingTable.load(out)
        soundfile.write(media / "v0.wav", np.sin(np.arange(16_000) / 9) * 0.3, 16_000, subtype="PCM_16")
        assert call("embed", media, "--weights", trained, "--out", out) == 0
        same = (EmbeddingTable.load(out).vectors == before.vectors).all(axis=1)
        assert same.tolist() == [False, True, True, True]

    def test_embed_checks_paths_before_it_loads_a_model(
        self, call: CommandRunner, media: Path, trained: Path, tmp_path: Path, capsys: Capture
    ) -> None:
        weights = ["--weights", tmp_path / "never_loaded"]
        (tmp_path / "empty").mkdir()
        (tmp_path / "a.pdf").touch()
        for name, expected in (("absent", []), ("empty", ["no "]), ("a.pdf", [".wav", ".jpg"])):
            assert call("embed", tmp_path / name, *weights, "--out", tmp_path / "table.npz") == 1
            assert_mentions(capsys.readouterr().err, tmp_path / name, *expected)
        with pytest.raises(SystemExit) as stop:
            call("embed", media, *weights, "--out", tmp_path / "table.csv")
        assert stop.value.code == 2 and ".parquet" in capsys.readouterr().err
        words = ["--weights", trained, "--out", tmp_path / "table.npz", "--relative-to", tmp_path / "other"]
        assert call("embed", media, *words) == 1
        assert_mentions(capsys.readouterr().err, "v0.wav", tmp_path / "other", "--relative-to")

    # match

    def test_match_ranks_images_by_cosine(
        self,
        call: CommandRunner,
        utterances: list[Path],
        images: list[Path],
        trained: Path,
        embedder: "Embedder",
        tmp_path: Path,
        capsys: Capture,
    ) -> None:
        page, table = tmp_path / "page.html", tmp_path / "ranks.json"
        options = ["--weights", trained, "--top", "2", "--report", page, "--json", table]
        assert call("match", utterances[0], "--gallery", *images, *options) == 0
        output = capsys.readouterr().out
        voices, faces = embedder.embed_voices(utterances[0]), embedder.embed_faces(images)
        scores = embedder.score(voices, faces)[0].numpy()
        order = [str(images[i]) for i in np.argsort(-scores)]
        stored = json.loads(table.read_text())
        ranking = stored["rankings"][str(utterances[0])]
        assert [candidate["name"] for candidate in ranking] == order
        assert np.allclose(
            [candidate["score"] for candidate in ranking], sorted(scores, reverse=True), atol=1e-5
        )
        assert order[0] in output and order[1] in output and order[2] not in output
        assert stored["disclaimer"] == embedder.disclaimer and stored["weights"] == "model.safetensors"
        assert "data:image" in page.read_text() and "data:audio" in page.read_text()

    def test_match_ranks_utterances_for_an_image(
        self,
        call: CommandRunner,
        utterances: list[Path],
        images: list[Path],
        trained: Path,
        embedder: "Embedder",
        tmp_path: Path,
        capsys: Capture,
    ) -> None:
        page, table = tmp_path / "page.html", tmp_path / "ranks.json"
        words = ["--gallery", *utterances[:3], "--weights", trained, "--report", page, "--json", table]
        assert call("match", images[0], *words) == 0
        assert "best of 3" in capsys.readouterr().out
        assert page.read_text().count("data:audio") >= 3
        ranking = json.loads(table.read_text())["rankings"][str(images[0])]
        scores = {candidate["name"]: candidate["score"] for candidate in ranking}
        voices, faces = embedder.embed_voices(utterances[:3]), embedder.embed_faces(images[0])
        expected = dict(zip(map(str, utterances), embedder.score(voices, faces)[:, 0].tolist()))
        assert scores == pytest.approx(expected, abs=1e-5)

    def test_match_and_embed_take_files_with_strange_names(
        self, call: CommandRunner, media: Path, trained: Path, tmp_path: Path, capsys: Capture
    ) -> None:
        strange = [media / os.fsdecode(b"x\xff.jpg"), media / "y\x1b[2J.jpg"]
        for path in strange:
            shutil.copy(media / "f0.jpg", path)
        page, ranks = tmp_path / "page.html", tmp_path / "ranks.json"
        words = ["--gallery", *strange, "--weights", trained, "--report", page, "--json", ranks]
        assert call("match", media / "v0.wav", *words) == 0
        shown = capsys.readouterr().out
        assert "x\\xff.jpg" in shown and "y\\x1b[2J.jpg" in shown and "\x1b" not in shown
        (ranking,) = json.loads(ranks.read_text())["rankings"].values()
        assert {candidate["name"] for candidate in ranking} == set(map(str, strange)) and page.is_file()
        for suffix in (".npz", ".parquet"):
            out = tmp_path / f"table{suffix}"
            assert call("embed", media, "--weights", trained, "--out", out) == 0
            assert len(EmbeddingTable.load(out)) == 6

    def test_match_orders_equal_scores_by_name(
        self, call: CommandRunner, media: Path, trained: Path, tmp_path: Path
    ) -> None:
        copies = [media / f"{name}.jpg" for name in "cab"]
        for copy in copies:
            shutil.copy(media / "f0.jpg", copy)
        words = ["--gallery", *copies, "--weights", trained, "--json", tmp_path / "ranks.json"]
        assert call("match", media / "v0.wav", *words) == 0
        (ranking,) = json.loads((tmp_path / "ranks.json").read_text())["rankings"].values()
        assert [Path(candidate["name"]).stem for candidate in ranking] == ["a", "b", "c"]

    def test_match_ranks_folders_by_their_mean_embedding(
        self,
        call: CommandRunner,
        population: Path,
        utterances: list[Path],
        trained: Path,
        embedder: "Embedder",
        tmp_path: Path,
    ) -> None:
        table = tmp_path / "ranks.json"
        words = ["--gallery", population / "faces", "--by-folder", "--weights", trained, "--json", table]
        assert call("match", utterances[0], *words) == 0
        ranking = json.loads(table.read_text())["rankings"][str(utterances[0])]
        assert len(ranking) == len(list((population / "faces").iterdir()))
        faces = embedder.embed_faces(sorted(Path(ranking[0]["name"]).iterdir())).numpy()
        mean = (faces / np.linalg.norm(faces, axis=1, keepdims=True)).mean(axis=0)
        voice = embedder.embed_voices(utterances[0])[0].numpy()
        cosine = mean @ voice / np.linalg.norm(mean) / np.linalg.norm(voice)
        assert ranking[0]["score"] == pytest.approx(cosine, abs=1e-5)

    def test_match_ranks_a_stored_gallery_as_its_files(
        self,
        call: CommandRunner,
        media: Path,
        images: list[Path],
        trained: Path,
        tmp_path: Path,
        capsys: Capture,
    ) -> None:
        table, place, pages = tmp_path / "t.npz", tmp_path / "gallery", tmp_path / "page.html"
        weights = ["--weights", trained]
        assert call("embed", *images, "--out", table, *weights) == 0
        store_table(EmbeddingTable.load(table), place)
        results = {}
        for name, gallery in (("files", images), ("stored", [place])):
            out = tmp_path / f"{name}.json"
            words = ["--gallery", *gallery, "--top", str(len(images)), "--json", out, "--report", pages]
            assert call("match", media / "v0.wav", *words, *weights) == 0
            shown = capsys.readouterr().out
            (results[name],) = json.loads(out.read_text())["rankings"].values()
            assert f"best of {len(images)}" in shown and "data:image" in pages.read_text()
        assert [each["name"] for each in results["stored"]] == [each["name"] for each in results["files"]]
        for key in ("score", "percentile"):
            values = [each[key] for each in results["files"]]
            assert [each[key] for each in results["stored"]] == pytest.approx(values, abs=1e-4)
        words = ["--gallery", place, "--top", "2", "--on-corrupt", "salvage"]  # the same model nevertheless
        assert call("match", media / "v0.wav", *words, *weights) == 0
        shown = capsys.readouterr().out
        assert f"best of {len(images)}" in shown and shown.count(".jpg") == 2

    def test_match_refuses_stored_galleries_that_do_not_fit(
        self, call: CommandRunner, media: Path, trained: Path, tmp_path: Path, capsys: Capture
    ) -> None:
        table, weights = tmp_path / "t.npz", ["--weights", trained]
        assert call("embed", media / "f0.jpg", "--out", table, *weights) == 0
        known = EmbeddingTable.load(table)
        for name, made, words in (
            ("other", EmbeddingTable(known.items, known.vectors, "0" * 64), ["another model"]),
            ("unknown", EmbeddingTable(known.items, known.vectors), ["not known", "any model"]),
        ):
            place = tmp_path / name
            store_table(made, place)
            assert call("match", media / "v0.wav", "--gallery", place, *weights) == 1
            assert_mentions(capsys.readouterr().err, place, *words)
        store_table(known, tmp_path / "own")
        assert call("match", media / "f1.jpg", "--gallery", tmp_path / "own", *weights) == 1
        assert_mentions(capsys.readouterr().err, tmp_path / "own", "holds faces, expected voices")
        beside = [tmp_path / "own", media / "f1.jpg"]
        assert call("match", media / "v0.wav", "--gallery", *beside, *weights) == 1
        assert_mentions(capsys.readouterr().err, tmp_path / "own", "give it alone")

    def test_match_refuses_mixed_queries_and_galleries_of_the_same_modality(
        self, call: CommandRunner, media: Path, trained: Path, capsys: Capture
    ) -> None:
        voice, face, weights = media / "v0.wav", media / "f0.jpg", ["--weights", trained]
        assert call("match", voice, face, "--gallery", media / "f1.jpg", *weights) == 1
        assert_mentions(capsys.readouterr().err, "error: ", "queries of one modality")
        assert call("match", voice, "--gallery", media / "v1.wav", *weights) == 1
        assert_mentions(capsys.readouterr().err, "error: ", "no images in the gallery", media / "v1.wav")
