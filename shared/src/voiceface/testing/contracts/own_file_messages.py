"""Contract for what `embed` and `match` tell about own files: those left out, notes, names with a dash."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from voiceface.embeddings.table import EmbeddingTable
from voiceface.testing.commands import CommandRunner
from voiceface.testing.corrupt_files import assert_mentions

__all__ = ["OwnFileMessagesContract"]

Capture = pytest.CaptureFixture[str]


class OwnFileMessagesContract:
    """Messages and records about a person's own files; `media` is that of `CommandContract`."""

    def test_embed_names_files_that_cannot_be_decoded_and_embeds_the_rest(
        self, call: CommandRunner, media: Path, trained: Path, tmp_path: Path, capsys: Capture
    ) -> None:
        from PIL import Image

        source = Image.open(media / "f0.jpg")
        source.convert("CMYK").save(media / "cmyk.jpg")
        source.resize((1, 1)).save(media / "one_pixel.png")
        corrupt = {
            "empty.wav": b"",
            "no_samples.wav": (media / "v0.wav").read_bytes()[:44],
            "empty.m4a": b"",
            "torn.m4a": b"\0\0\0\x20ftypM4A " + b"\1" * 400,
            "no_image.jpg": b"no image",
        }
        for name, content in corrupt.items():
            (media / name).write_bytes(content)
        out = tmp_path / "table.npz"
        words = ["embed", media, "--weights", trained, "--out", out]
        assert call(*words) == 0
        message = capsys.readouterr().err
        for name in (*corrupt, "one_pixel.png", "notes.txt"):
            assert message.count(str(media / name)) == 1, "each file is told once"
        assert_mentions(message, "7 files were left out", "empty file", "remedy")
        assert "v0.wav" not in message and "Traceback" not in message
        assert call(*words, "--strict") == 1
        assert_mentions(capsys.readouterr().err, "error: --strict: 7 files were left out")
        names = {Path(item).name for item in EmbeddingTable.load(out).items}
        assert names == {"v0.wav", "v1.wav", "f0.jpg", "f1.jpg", "cmyk.jpg"}

    def test_notes_about_recordings_travel_into_tables_json_and_pages(
        self, call: CommandRunner, media: Path, trained: Path, tmp_path: Path, capsys: Capture
    ) -> None:
        import soundfile

        from voiceface.audio.loading import load_audio

        wave = load_audio(media / "v0.wav", scale="unit")
        soundfile.write(media / "v1.wav", np.clip(wave * 40, -1, 1), 16_000)  # clipped
        out = tmp_path / "table.npz"
        for _ in range(2):  # the second time from the cache
            assert call("embed", media, "--weights", trained, "--out", out) == 0
            message = capsys.readouterr().err
            assert message.count("notes about") == message.count(f"{media / 'v1.wav'}: clipped: ") == 1
            facts = EmbeddingTable.load(out).facts
            loud = facts[(media / "v1.wav").as_posix()]
            assert loud.short_notes == ("clipped",) and loud.measures["clipped"] > 0.005
            assert facts[(media / "v0.wav").as_posix()].measures["speech_seconds"] > 0
            out.unlink()
        page, ranks = tmp_path / "page.html", tmp_path / "ranks.json"
        options = ["--weights", trained, "--json", ranks, "--report", page]
        assert call("match", media / "v1.wav", "--gallery", media / "f0.jpg", *options) == 0
        output = capsys.readouterr()
        assert "note: clipped: " in output.out and "clipped" not in output.err
        stored = json.loads(ranks.read_text())["queries"][(media / "v1.wav").as_posix()]
        assert stored["kind"] == "recording" and stored["notes"][0].startswith("clipped: ")
        assert "Clipped: " in page.read_text()
        assert call("match", media / "f0.jpg", "--gallery", media / "v1.wav", *options) == 0
        assert f"{media / 'v1.wav'}  (clipped)" in capsys.readouterr().out
        (ranking,) = json.loads(ranks.read_text())["rankings"].values()
        assert ranking[0]["files"][0]["notes"] == stored["notes"]
        assert '<span class="doubt">clipped</span>' in page.read_text()

    def test_match_leaves_out_corrupt_files_and_fails_without_a_query_or_a_candidate(
        self, call: CommandRunner, media: Path, trained: Path, tmp_path: Path, capsys: Capture
    ) -> None:
        (media / "bad.jpg").write_text("no image")
        weights, voice = ["--weights", trained], media / "v0.wav"
        words = ["match", voice, "--gallery", media, "--json", tmp_path / "ranks.json", *weights]
        assert call(*words) == 0
        output = capsys.readouterr()
        assert "best of 2" in output.out
        assert output.err.count("bad.jpg") == output.err.count("notes.txt") == 1
        left_out = json.loads((tmp_path / "ranks.json").read_text())["left_out"]
        assert {each["file"] for each in left_out} == {str(media / "bad.jpg"), str(media / "notes.txt")}
        assert all(each["reason"] for each in left_out)
        (tmp_path / "ranks.json").unlink()
        assert call(*words, "--strict") == 1 and (tmp_path / "ranks.json").is_file()
        capsys.readouterr()
        assert call("match", media / "bad.jpg", media / "f0.jpg", "--gallery", voice, *weights) == 0
        output = capsys.readouterr()
        assert output.out.count("best of 1") == 1 and output.err.count("bad.jpg") == 1
        for query, gallery in ((media / "bad.jpg", voice), (voice, media / "bad.jpg")):
            assert call("match", query, "--gallery", gallery, *weights) == 1
            output = capsys.readouterr()
            assert "bad.jpg" in output.err and "best of" not in output.out

    def test_commands_take_files_whose_names_begin_with_a_dash(
        self,
        call: CommandRunner,
        media: Path,
        trained: Path,
        capsys: Capture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        shutil.copy(media / "v0.wav", media / "-dash.wav")
        monkeypatch.chdir(media)
        assert call("match", "-dash.wav", "--gallery", "f0.jpg", "--weights", trained) == 0
        assert "-dash.wav: best of 1" in capsys.readouterr().out
        with pytest.raises(SystemExit) as stop:
            call("match", "-absent.wav", "--gallery", "f0.jpg", "--weights", trained)
        assert stop.value.code == 2 and "./-NAME" in capsys.readouterr().err

    def test_outputs_that_cannot_be_written_are_named_before_a_model_is_loaded(
        self, call: CommandRunner, media: Path, tmp_path: Path, capsys: Capture
    ) -> None:
        (tmp_path / "folder.npz").mkdir()
        (tmp_path / "file").touch()
        weights = ["--weights", tmp_path / "never_loaded"]
        match = ["match", media / "v0.wav", "--gallery", media / "f0.jpg", *weights]
        for words, expected in (
            (["embed", media, "--out", tmp_path / "folder.npz", *weights], "--out "),
            ([*match, "--json", tmp_path / "folder.npz"], "is a folder, expected the name of a file"),
            ([*match, "--report", tmp_path / "file" / "page.html"], "cannot write into"),
        ):
            assert call(*words) == 1
            message = capsys.readouterr().err
            assert_mentions(message, "error: --", expected)
            assert "Errno" not in message and message.count("\n") == 1
