"""Contract for people's own recordings: long ones, the best seconds or windows of everything."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from voiceface.testing.commands import CommandRunner
from voiceface.testing.contracts.subject import SystemUnderTest

if TYPE_CHECKING:
    from voiceface.association.embedder import Embedder

__all__ = ["OwnRecordingContract"]

RATE = 16000


class OwnRecordingContract:
    """What is used of long recordings."""

    @pytest.fixture
    def long_recording(self, utterances: list[Path], tmp_path: Path) -> Path:
        """Noise for 8 s, speech for 24 s, noise for 8 s."""
        from voiceface.audio.loading import load_audio, repeat_to_length, write_wav

        speech = np.concatenate([load_audio(path, scale="int16") for path in utterances])
        noise = 100 * np.random.default_rng(0).standard_normal(8 * RATE)
        wave = np.concatenate([noise, repeat_to_length(speech, 24 * RATE), noise])
        write_wav(tmp_path / "long.wav", wave.astype(np.int16))
        return tmp_path / "long.wav"

    def test_the_best_part_of_a_long_recording_is_used(
        self, embedder: "Embedder", long_recording: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from voiceface.io.long_recordings import LongRecordings

        whole, facts = embedder.read_recording(long_recording)
        assert facts is not None and not any("long" in note for note in facts.notes)
        monkeypatch.setattr(embedder, "long_recordings", LongRecordings("best", 5))
        best, facts = embedder.read_recording(long_recording)
        assert facts is not None and facts.notes[0].startswith("long: 0:40; the best")
        assert facts.measures["speech_seconds"] > 0.5 * facts.measures["seconds"]
        assert best.shape != whole.shape or not np.array_equal(best, whole)

    def test_the_voice_branch_encodes_own_recordings_as_the_system_does(
        self, embedder: "Embedder", utterances: list[Path]
    ) -> None:
        from voiceface.association.branches import describe_branch
        from voiceface.encoders.system_encoders import SystemEncoder

        encoder = SystemEncoder(embedder, describe_branch(embedder, "voice", "system"))
        features, expected = encoder.encode(utterances[:2]), embedder.embed_voices(utterances[:2])
        assert np.array_equal(features, expected.numpy())

    def test_a_recording_is_heard_from_where_somebody_speaks(
        self, embedder: "Embedder", utterances: list[Path], tmp_path: Path
    ) -> None:
        from voiceface.audio.loading import load_audio
        from voiceface.testing.silence import require_silence_is_not_heard

        voices = [load_audio(path, scale="int16") for path in utterances[:2]]
        require_silence_is_not_heard(embedder.embed_voices, tmp_path, voices, min_similarity=0.8)

    def test_windows_of_all_of_a_long_recording_are_averaged(
        self, embedder: "Embedder", long_recording: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import torch

        from voiceface.audio.recordings import use_windows
        from voiceface.io.long_recordings import LongRecordings

        windows: list[np.ndarray] = []
        use_windows(long_recording, windows.append, window_seconds=embedder.window_seconds, scale="int16")
        assert len(windows) >= 2
        each = torch.nn.functional.normalize(torch.cat([embedder.embed_voices(w) for w in windows]), dim=1)
        monkeypatch.setattr(embedder, "long_recordings", LongRecordings("all", 5))
        found, facts = embedder.embed_recording(long_recording)
        torch.testing.assert_close(torch.from_numpy(found), each.mean(dim=0), atol=1e-5, rtol=1e-4)
        assert facts is not None and f"mean over the {len(windows)} of" in facts.notes[0]
        torch.testing.assert_close(embedder.embed_voices(long_recording)[0], torch.from_numpy(found))

    def test_recordings_that_are_not_long_are_embedded_as_ever(
        self, embedder: "Embedder", utterances: list[Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import torch

        from voiceface.io.long_recordings import LongRecordings

        expected = torch.cat([embedder.embed_voices(path) for path in utterances[:2]])
        monkeypatch.setattr(embedder, "long_recordings", LongRecordings("all", 60))
        assert torch.equal(embedder.embed_voices(utterances[:2]), expected)

    def test_embed_command_averages_windows_and_keeps_them_apart_in_the_cache(
        self, call: CommandRunner, trained: Path, long_recording: Path, tmp_path: Path
    ) -> None:
        from voiceface.embeddings.table import EmbeddingTable

        out, vectors = tmp_path / "table.npz", []
        for option, note in (("best:5", "the best"), ("all:5", "mean over"), ("best", None)):
            command = ["embed", long_recording, "--out", out, "--weights", trained]
            call(*command, "--long-recordings", option)
            table = EmbeddingTable.load(out)
            vectors.append(table.vectors[0])
            notes = table.facts[table.items[0]].notes
            assert any(note in each for each in notes) if note else not any("long" in each for each in notes)
        assert not np.allclose(vectors[0], vectors[1]) and not np.allclose(vectors[1], vectors[2])

    def test_the_first_channel_alone_is_used_where_the_configuration_says_so(
        self,
        system: SystemUnderTest,
        embedder: "Embedder",
        rewrite: Callable[..., Path],
        utterances: list[Path],
        tmp_path: Path,
    ) -> None:
        import soundfile
        import torch

        from voiceface.audio.loading import load_audio

        if not hasattr(embedder.config.data, "own_channel"):
            pytest.skip("its published program is read as a front end: `sample_rates=published`")
        wave = load_audio(utterances[0], scale="int16").astype(np.int16)
        channels = np.stack([wave // 4, wave], axis=1)
        soundfile.write(tmp_path / "both.wav", channels, RATE, subtype="PCM_16")
        soundfile.write(tmp_path / "first.wav", channels[:, 0], RATE, subtype="PCM_16")
        first = system.load(rewrite({"data.own_channel": "first"}))
        assert first.fingerprint != embedder.fingerprint
        for model, same in ((first, True), (embedder, False)):
            both, alone = (model.embed_voices(tmp_path / name) for name in ("both.wav", "first.wav"))
            assert torch.equal(both, alone) == same
