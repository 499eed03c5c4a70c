"""Contract for loaded models: embeddings of utterances and images, fingerprints, devices."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from voiceface.testing.contracts.subject import SystemUnderTest

if TYPE_CHECKING:
    from torch import Tensor

    from voiceface.association.embedder import Embedder

__all__ = ["EmbedderContract"]


class EmbedderContract:
    """What `load` returns."""

    @pytest.fixture
    def rewrite(self, trained: Path, tmp_path: Path) -> Callable[..., Path]:
        """Write the trained checkpoint with other tensors or other configuration values."""
        from voiceface.checkpoints.native import load_model, save_model

        def run(changes: dict[str, Any], tensors: "dict[str, Tensor] | None" = None, **options: Any) -> Path:
            loaded = load_model(trained / "model.safetensors")
            config: Any = loaded.config
            for key, value in changes.items():
                *sections, name = key.split(".")
                section = config
                for part in sections:
                    section = section[part]
                assert section[name] != value, f"{key} is {value} already"
                section[name] = value
            path = tmp_path / "changed.safetensors"
            state = {**loaded.state, **(tensors or {})}
            header: dict[str, Any] = {"system": loaded.system, "kind": loaded.kind, "extra": loaded.extra}
            save_model(path, state, config=config, **header, **options)
            return path

        return run

    def test_run_folder_and_file_are_the_same_model(
        self, system: SystemUnderTest, trained: Path, embedder: "Embedder"
    ) -> None:
        from voiceface.association.embedder import Embedder
        from voiceface.datasets.disclaimers import SYNTHETIC_DATA_DISCLAIMER

        other = system.load(trained / "model.safetensors")
        assert isinstance(other, Embedder) and other.fingerprint == embedder.fingerprint
        assert other.source == embedder.source == "model.safetensors"
        assert embedder.identity_names is not None
        assert len(embedder.identity_names) == system.population["train"]
        assert embedder.disclaimer == SYNTHETIC_DATA_DISCLAIMER and not embedder.model.training

    def test_voices_and_faces_share_one_space(
        self, embedder: "Embedder", utterances: list[Path], images: list[Path]
    ) -> None:
        import torch

        voices, faces = embedder.embed_voices(utterances), embedder.embed_faces(images)
        scores = embedder.score(voices, faces)
        assert voices.shape == (5, embedder.embedding_dim) and faces.shape == (4, embedder.embedding_dim)
        assert scores.shape == (5, 4) and scores.dtype == torch.float32
        assert float(scores.abs().max()) <= 1 + 1e-6 and float(scores.std()) > 0
        assert torch.allclose(embedder.score(voices, voices).diagonal(), torch.ones(5), atol=1e-6)

    def test_paths_strings_and_arrays_give_the_same_embeddings(
        self, embedder: "Embedder", utterances: list[Path], images: list[Path]
    ) -> None:
        import torch

        from voiceface.audio.loading import load_audio
        from voiceface.images.loading import load_image

        waveforms = [load_audio(path, scale="int16").astype(np.int16) for path in utterances[:2]]
        pixels = [load_image(path) for path in images[:2]]
        voices, faces = embedder.embed_voices(utterances[:2]), embedder.embed_faces(images[:2])
        for same in ([str(path) for path in utterances[:2]], waveforms, np.stack(waveforms)):
            assert torch.equal(voices, embedder.embed_voices(same))
        for same in ([str(path) for path in images[:2]], pixels, np.stack(pixels)):
            assert torch.equal(faces, embedder.embed_faces(same))
        assert torch.allclose(voices[:1], embedder.embed_voices(waveforms[0]), atol=1e-5)
        assert torch.allclose(faces[:1], embedder.embed_faces(pixels[0]), atol=1e-5)
        for embed in (embedder.embed_voices, embedder.embed_faces):
            assert embed([]).shape == (0, embedder.embedding_dim)

    def test_branches_are_encoders(
        self, embedder: "Embedder", utterances: list[Path], images: list[Path]
    ) -> None:
        from voiceface.association.branches import describe_branch
        from voiceface.audio.loading import load_audio
        from voiceface.encoders.system_encoders import SystemEncoder
        from voiceface.faces.own_pictures import PictureReader

        voice, face = (
            SystemEncoder(embedder, describe_branch(embedder, modality, "system"))
            for modality in ("voice", "face")
        )
        assert all(each.info.wants and each.dimension == embedder.embedding_dim for each in (voice, face))
        samples = load_audio(utterances[0], scale="int16").astype(np.int16)
        expected = embedder.embed_voices(samples).numpy()
        assert np.allclose(voice.encode(samples), expected, rtol=1e-3, atol=1e-4)
        assert np.allclose(face.encode(images[0]), embedder.embed_faces(images[0]).numpy(), atol=1e-5)
        before = face.pictures.crop
        face.use_pictures(PictureReader("never"))
        assert face.pictures.crop == "never" != before == embedder.pictures.crop
        voice.on_corrupt, voice.resample = "salvage", False
        assert (voice.on_corrupt, voice.resample) == ("salvage", False)
        assert (face.on_corrupt, face.resample) == ("error", True)

    def test_batch_and_order_do_not_matter(
        self, embedder: "Embedder", utterances: list[Path], images: list[Path]
    ) -> None:
        import torch

        for paths, embed in ((utterances, embedder.embed_voices), (images, embedder.embed_faces)):
            together, reversed_order = embed(paths), embed(paths[::-1])
            alone = torch.cat([embed(path) for path in paths])
            tolerance = 1e-5 * float(alone.abs().max())
            assert torch.allclose(together, alone, atol=tolerance)
            assert torch.allclose(together, reversed_order.flip(0), atol=tolerance)
            assert not torch.allclose(together[0], together[1], atol=tolerance)

    def test_utterances_of_any_length_are_embedded(self, embedder: "Embedder") -> None:
        import torch

        tone = (3000 * np.sin(np.arange(160_000) / 9)).astype(np.int16)
        embeddings = embedder.embed_voices([tone[:5000], tone[:16_000], tone])
        assert embeddings.shape == (3, embedder.embedding_dim) and torch.isfinite(embeddings).all()

    def test_channels_and_8_bit_samples_are_read(self, embedder: "Embedder", tmp_path: Path) -> None:
        import soundfile
        import torch

        tone = np.sin(np.arange(16_000) / 9) * 0.3
        stereo, right, mono, coarse = (
            tmp_path / f"{name}.wav" for name in ("stereo", "right", "mono", "coarse")
        )
        soundfile.write(stereo, np.stack([tone, np.roll(tone, 5)], axis=1), 16_000, subtype="PCM_16")
        soundfile.write(right, np.stack([0 * tone, tone], axis=1), 16_000, subtype="PCM_16")
        soundfile.write(mono, tone, 16_000, subtype="PCM_16")
        soundfile.write(coarse, tone, 16_000, subtype="PCM_U8")
        embeddings = embedder.embed_voices([right, mono, coarse])
        assert torch.equal(embeddings[0], embeddings[1]) and torch.isfinite(embeddings[2]).all()
        # data folders are read as published: the first channel
        assert np.array_equal(embedder.load_voice(stereo), embedder.load_voice(mono))

    def test_arrays_of_samples_of_every_layout_are_one_recording(self, embedder: "Embedder") -> None:
        from voiceface.audio.loading import AudioError

        tone = np.rint(np.sin(np.arange(16_000) / 9) * 9000)
        expected = embedder.embed_voices(tone.astype(np.int16)).numpy()
        assert expected.shape == (1, embedder.embedding_dim)
        stereo = np.stack([tone, tone], axis=1)  # as soundfile.read gives it
        for array in (tone.astype(np.float32), tone, stereo, stereo.astype(np.int16)):
            assert np.allclose(embedder.embed_voices(array).numpy(), expected, atol=1e-4)
            assert np.allclose(embedder.embed_voices([array]).numpy(), expected, atol=1e-4)
        broken = np.where(np.arange(16_000) == 5, np.nan, tone)
        for array, finding in (
            (broken, "not finite"),
            (np.zeros(16_000), "silent"),
            (np.zeros((2, 3, 4)), r"\(2, 3, 4\)"),
        ):
            with pytest.raises(AudioError, match=finding):
                embedder.embed_voices([array])

    def test_silence_and_noise_never_become_an_embedding(self, embedder: "Embedder", tmp_path: Path) -> None:
        import soundfile

        from voiceface.audio.loading import AudioError

        noise = np.random.default_rng(0).standard_normal(16_000) * 0.1
        for name, wave in (("silence", 0 * noise), ("noise", noise)):
            soundfile.write(tmp_path / f"{name}.wav", wave, 16_000)
            with pytest.raises(AudioError, match=rf"{name}\.wav: .*speech"):
                embedder.embed_voices(tmp_path / f"{name}.wav")

    def test_images_of_every_mode_and_size_are_embedded(
        self, embedder: "Embedder", images: list[Path], tmp_path: Path
    ) -> None:
        import torch
        from PIL import Image

        source = Image.open(images[0])
        modes = {"grey.png": "L", "palette.png": "P", "alpha.png": "RGBA", "cmyk.jpg": "CMYK"}
        for name, mode in modes.items():
            source.convert(mode).save(tmp_path / name)
        source.resize((90, 40)).save(tmp_path / "wide.png")
        embeddings = embedder.embed_faces(sorted(tmp_path.iterdir()))
        assert embeddings.shape == (5, embedder.embedding_dim) and torch.isfinite(embeddings).all()
        source.convert("RGB").save(tmp_path / "opaque.png")
        opaque, alpha = embedder.embed_faces([tmp_path / "opaque.png", tmp_path / "alpha.png"])
        assert torch.allclose(opaque, alpha, atol=1e-4)

    def test_own_pictures_are_embedded_as_a_viewer_shows_them(
        self, embedder: "Embedder", images: list[Path], tmp_path: Path
    ) -> None:
        import numpy as np
        import torch
        from PIL import Image

        upright = Image.open(images[0]).convert("RGB")
        upright.save(tmp_path / "upright.png")
        exif = Image.Exif()
        exif[0x0112] = 6  # turn clockwise to see it
        upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
        upright, turned = embedder.embed_faces([tmp_path / "upright.png", tmp_path / "turned.png"])
        assert torch.equal(upright, turned)
        as_stored = embedder.load_face(tmp_path / "turned.png")  # data folders are read as published
        assert not np.array_equal(as_stored, embedder.load_photograph(tmp_path / "turned.png"))

    def test_pictures_of_one_pixel_are_refused(self, embedder: "Embedder", tmp_path: Path) -> None:
        from PIL import Image

        from voiceface.images.loading import ImageError

        Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
        with pytest.raises(ImageError, match=r"dot\.png: 1 x 1 pixels, expected at least 16 x 16"):
            embedder.embed_faces(tmp_path / "dot.png")

    def test_utterances_at_another_sampling_rate_are_resampled_or_refused(
        self, system: SystemUnderTest, embedder: "Embedder", trained: Path, tmp_path: Path
    ) -> None:
        import soundfile
        import torch

        from voiceface.audio.loading import AudioError

        for rate in (48_000, 16_000):
            tone = 0.3 * np.sin(np.arange(rate) * 2 * np.pi * 300 / rate)
            soundfile.write(tmp_path / f"{rate}.wav", tone, rate)
        high, low = embedder.embed_voices([tmp_path / "48000.wav", tmp_path / "16000.wav"])
        assert float(torch.nn.functional.cosine_similarity(high, low, dim=0)) > 0.95
        strict = system.load(trained, resample=False)
        with pytest.raises(AudioError, match=r"48,?000.*16,?000"):
            strict.embed_voices(tmp_path / "48000.wav")
        assert strict.fingerprint != embedder.fingerprint

    def test_truncated_utterances_are_refused_or_salvaged(
        self, system: SystemUnderTest, embedder: "Embedder", trained: Path, utterance: Path
    ) -> None:
        import torch

        from voiceface.audio.loading import AudioError

        utterance.write_bytes(utterance.read_bytes()[: 3 * utterance.stat().st_size // 4])
        with pytest.raises(AudioError, match="truncated"):
            embedder.embed_voices(utterance)
        tolerant = system.load(trained, on_corrupt="salvage")
        assert torch.isfinite(tolerant.embed_voices(utterance)).all()
        assert tolerant.fingerprint != embedder.fingerprint

    # fingerprint, precision, bundled checkpoint

    def test_fingerprint_changes_with_every_front_end_setting(
        self, system: SystemUnderTest, embedder: "Embedder", rewrite: Callable[..., Path]
    ) -> None:
        assert system.frontend_settings
        fingerprints = [embedder.fingerprint, system.load(rewrite({})).fingerprint]
        assert len(set(fingerprints)) == 1
        for key, value in system.frontend_settings.items():
            fingerprints.append(system.load(rewrite({key: value})).fingerprint)
        assert len(set(fingerprints)) == 1 + len(system.frontend_settings)

    def test_fingerprint_changes_with_the_weights(
        self, system: SystemUnderTest, embedder: "Embedder", rewrite: Callable[..., Path]
    ) -> None:
        key, value = next(
            (key, value) for key, value in embedder.model.state_dict().items() if key.endswith("weight")
        )
        changed = value.clone()
        changed.view(-1)[0] += 1e-3
        assert system.load(rewrite({}, {key: changed})).fingerprint != embedder.fingerprint

    def test_half_precision_checkpoint_gives_nearly_the_same_embeddings(
        self,
        system: SystemUnderTest,
        embedder: "Embedder",
        trained: Path,
        utterances: list[Path],
        rewrite: Callable[..., Path],
    ) -> None:
        import torch

        path = rewrite({}, dtype=torch.float16)
        assert path.stat().st_size < 0.7 * (trained / "model.safetensors").stat().st_size
        half, full = system.load(path).embed_voices(utterances), embedder.embed_voices(utterances)
        assert float(torch.nn.functional.cosine_similarity(half, full).min()) > 0.999

    def test_bundled_checkpoint_has_a_disclaimer(
        self, system: SystemUnderTest, utterances: list[Path], images: list[Path]
    ) -> None:
        import torch

        bundled = system.load()
        assert "synthetic" in bundled.disclaimer and bundled.identity_names
        scores = bundled.score(bundled.embed_voices(utterances), bundled.embed_faces(images))
        assert scores.shape == (5, 4) and torch.isfinite(scores).all()

    # refusals

    def test_missing_checkpoint_names_path_and_remedy(self, system: SystemUnderTest, tmp_path: Path) -> None:
        from voiceface.checkpoints.published import CheckpointError

        with pytest.raises(CheckpointError, match=rf"no .* at .*absent.*{system.package} train"):
            system.load(tmp_path / "absent")

    def test_unknown_device(self, system: SystemUnderTest, trained: Path) -> None:
        import torch

        with pytest.raises(ValueError, match="toaster"):
            system.load(trained, device="toaster")
        if not torch.cuda.is_available():
            with pytest.raises(ValueError, match="cuda"):
                system.load(trained, device="cuda")

    def test_embedder_can_be_moved(self, embedder: "Embedder", utterances: list[Path]) -> None:
        import torch

        before = embedder.embed_voices(utterances[0])
        assert embedder.to("cpu") is embedder and embedder.device == torch.device("cpu")
        assert torch.equal(before, embedder.embed_voices(utterances[0]))
