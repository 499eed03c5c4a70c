"""Contract for incomplete and corrupt data: training names the file, what was expected, and the remedy."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from voiceface.datasets.packing.plan import plan_packing
from voiceface.datasets.packing.writing import write_packed
from voiceface.testing.commands import CommandRunner
from voiceface.testing.contracts.subject import SystemUnderTest
from voiceface.testing.corrupt_files import assert_mentions
from voiceface.testing.runs import run_outcome

__all__ = ["CorpusContract"]

TrainingError = Callable[..., str]
TrainingSuccess = Callable[..., None]
Capture = pytest.CaptureFixture[str]


class CorpusContract:
    """Data folders that are missing, incomplete or corrupt."""

    # folders and tables

    def test_missing_data_folder(
        self, system: SystemUnderTest, call: CommandRunner, tmp_path: Path, capsys: Capture
    ) -> None:
        out, data = tmp_path / "run", tmp_path / "absent"
        assert call("train", "--cfg", system.config, "--data", data, "--out", out) == 1
        assert_mentions(capsys.readouterr().err, "--data", data)
        assert not out.exists()

    def test_empty_data_folder_lists_the_expected_tables(
        self, system: SystemUnderTest, call: CommandRunner, tmp_path: Path, capsys: Capture
    ) -> None:
        data = tmp_path / "data"
        data.mkdir()
        assert call("train", "--cfg", system.config, "--data", data, "--out", tmp_path / "run") == 1
        assert_mentions(capsys.readouterr().err, data, "manifest.csv", "vox1_train.csv", "vox1_meta.csv")

    def test_missing_folders_of_identities_are_named_and_can_be_skipped(
        self,
        utterance: Path,
        image: Path,
        training_error: TrainingError,
        train_succeeds: TrainingSuccess,
        system: SystemUnderTest,
        corpus_copy: Path,
    ) -> None:
        voices = utterance.parents[1]
        faces = (
            corpus_copy / system.face_folder / image.relative_to(corpus_copy / system.face_folder).parts[0]
        )
        shutil.rmtree(voices)
        shutil.rmtree(faces)
        assert_mentions(training_error(), "2 folders", voices, faces, "--missing skip")
        train_succeeds("--missing", "skip")

    def test_identity_without_utterances_is_named_and_can_be_skipped(
        self,
        system: SystemUnderTest,
        utterance: Path,
        training_error: TrainingError,
        train_succeeds: TrainingSuccess,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        for path in utterance.parents[1].rglob("*.wav"):
            path.unlink()
        if system.trains_on_videos:
            train_succeeds()
            assert_mentions(caplog.text, "1 identities have no clips", "skipped", utterance.parent.name)
        else:
            message = training_error()
            assert_mentions(message, "1 of 10 identities cannot be paired", utterance.parents[1].name)
            train_succeeds("--missing", "skip")

    def test_identity_with_one_file_of_each_modality_can_be_trained_on(
        self, utterance: Path, image: Path, train_succeeds: TrainingSuccess
    ) -> None:
        for path in [*utterance.parents[1].rglob("*.wav"), *image.parent.iterdir()]:
            if path not in (utterance, image):
                path.unlink()
        train_succeeds()

    def test_missing_modality_is_named(
        self, system: SystemUnderTest, corpus_copy: Path, training_error: TrainingError
    ) -> None:
        for folder in {"faces", system.face_folder}:
            shutil.rmtree(corpus_copy / folder)
        assert_mentions(training_error(), corpus_copy, "faces")

    def test_table_with_a_broken_line(self, corpus_copy: Path, training_error: TrainingError) -> None:
        tables = (corpus_copy / "list_wav" / "vox1_train.csv", corpus_copy / "vox1_meta.csv")
        table = next(path for path in tables if path.exists())
        lines = table.read_text().splitlines()
        table.write_text("\n".join([*lines[:2], "only one field", *lines[3:]]) + "\n")
        assert_mentions(training_error(), table.name, "3")

    def test_too_few_identities_for_a_batch(
        self, system: SystemUnderTest, training_error: TrainingError
    ) -> None:
        count = [] if system.trains_on_videos else [str(system.population["train"])]
        message = training_error("training.batch_size=64")
        assert_mentions(message, *count, "batch of 64", "lower the batch size")

    def test_validation_without_identities(
        self,
        system: SystemUnderTest,
        corpus_copy: Path,
        training_error: TrainingError,
        train_succeeds: TrainingSuccess,
    ) -> None:
        table = corpus_copy / "list_wav" / "vox1_val.csv"
        table.write_text(table.read_text().splitlines()[0] + "\n")
        assert_mentions(training_error("training.validation_interval=1"), "val")
        train_succeeds(*(["--splits", "train"] if system.trains_on_videos else []))

    # shards

    def test_packed_data_gives_the_same_run_and_the_same_results(
        self,
        system: SystemUnderTest,
        call: CommandRunner,
        train: CommandRunner,
        trained: Path,
        population: Path,
        tmp_path: Path,
    ) -> None:
        packed, run = tmp_path / "packed", tmp_path / "run"
        write_packed(plan_packing(population, shard_bytes=100_000), packed, progress=False)
        assert len(list(packed.glob("train-*.tar"))) > 1
        assert train(run, *system.trained, data=packed) == 0
        assert run_outcome(run, *system.outputs) == run_outcome(trained, *system.outputs)
        for name, data in (("plain", population), ("shards", packed)):
            words = ["--data", data, "--weights", run, "--out", tmp_path / name, "--generate-lists", "3"]
            assert call("test", *words, "--list", "match_v2f_2_test") == 0
        for file in ("voices.npz", "faces.npz"):
            assert (tmp_path / "shards" / file).read_bytes() == (tmp_path / "plain" / file).read_bytes()

    # utterances

    @pytest.mark.parametrize("in_memory", ["true", "false"])
    @pytest.mark.parametrize(
        ("content", "reason"),
        [(b"", "empty file"), (b"no audio", "cannot be decoded"), (None, "")],
        ids=["empty", "no_audio", "truncated"],
    )
    def test_corrupt_wav(
        self,
        utterance: Path,
        training_error: TrainingError,
        content: bytes | None,
        reason: str,
        in_memory: str,
    ) -> None:
        wav = utterance.parents[2]
        for path in wav.rglob("*.wav"):
            path.write_bytes(path.read_bytes()[:2000] if content is None else content)
        assert_mentions(training_error(f"data.in_memory={in_memory}"), wav, ".wav", reason)

    def test_wav_without_samples(self, utterance: Path, training_error: TrainingError) -> None:
        import soundfile

        soundfile.write(utterance, np.zeros(0), 16_000)
        assert_mentions(training_error(), utterance, "no samples")

    def test_utterance_at_another_sampling_rate_is_refused_or_resampled(
        self,
        system: SystemUnderTest,
        utterance: Path,
        training_error: TrainingError,
        train_succeeds: TrainingSuccess,
    ) -> None:
        import soundfile

        soundfile.write(utterance, 0.3 * np.sin(np.arange(44_100) / 20), 44_100)
        refused, resampled = system.resampling
        assert_mentions(training_error(refused), utterance, "44100", "16000", "resample")
        train_succeeds(resampled)

    def test_stereo_and_8_bit_utterances_can_be_trained_on(
        self, utterance: Path, train_succeeds: TrainingSuccess
    ) -> None:
        import soundfile

        tone = 0.3 * np.sin(np.arange(16_000) / 9)
        soundfile.write(utterance, np.stack([tone, tone], axis=1), 16_000)
        other = next(path for path in utterance.parents[1].rglob("*.wav") if path != utterance)
        soundfile.write(other, tone, 16_000, subtype="PCM_U8")
        train_succeeds()

    def test_training_refuses_or_salvages_truncated_utterances(
        self,
        system: SystemUnderTest,
        utterance: Path,
        training_error: TrainingError,
        train_succeeds: TrainingSuccess,
        tmp_path: Path,
    ) -> None:
        for path in utterance.parents[1].rglob("*.wav"):
            path.write_bytes(path.read_bytes()[: 3 * path.stat().st_size // 4])
        assert_mentions(training_error(), utterance.parents[1].name, "truncated")
        train_succeeds(f"{system.corrupt_audio}=salvage")
        embedder = system.load(tmp_path / "run", on_corrupt=None)
        assert np.isfinite(embedder.embed_voices(utterance).numpy()).all()

    # images

    @pytest.mark.parametrize("content", [b"", b"no image"], ids=["empty", "no_image"])
    def test_corrupt_image(self, image: Path, training_error: TrainingError, content: bytes) -> None:
        image.write_bytes(content)
        assert_mentions(training_error(), image)

    @pytest.mark.parametrize("form", ["L", "CMYK", "one_pixel"])
    def test_image_of_any_form_can_be_trained_on(
        self, image: Path, train_succeeds: TrainingSuccess, form: str
    ) -> None:
        from PIL import Image

        source = Image.open(image)
        changed = source.resize((1, 1)) if form == "one_pixel" else source.convert(form)
        changed.save(image)
        train_succeeds()
