"""The contracts of all association systems, as far as frozen encoders leave room for them.

Contracts of training are tests of their own here (test_fop_train.py): epochs and features take the place of
steps and files.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from feature_sets import make_features
from fop.system_data import REAL_NETWORKS
from voiceface.real.installation import find_installed
from voiceface.testing.contracts.commands import CommandContract
from voiceface.testing.contracts.embedders import EmbedderContract
from voiceface.testing.contracts.evaluation import EvaluationContract
from voiceface.testing.contracts.own_file_messages import OwnFileMessagesContract
from voiceface.testing.contracts.own_pictures import OwnPictureContract
from voiceface.testing.contracts.own_recordings import OwnRecordingContract
from voiceface.testing.contracts.percentiles import PercentileContract
from voiceface.testing.contracts.published import PublishedCheckpointContract, write_form
from voiceface.testing.contracts.subject import SystemUnderTest

if TYPE_CHECKING:
    from fop.embedder import FopEmbedder
    from torch import Tensor


@pytest.fixture
def real_networks() -> None:
    """Skip the test if the networks of the bundled weights are not installed."""
    if any(find_installed(name) is None for name in REAL_NETWORKS):
        pytest.skip("the networks of `voiceface models get real` are not installed")


class TestFop(
    EmbedderContract,
    CommandContract,
    OwnFileMessagesContract,
    EvaluationContract,
    OwnPictureContract,
    OwnRecordingContract,
    PercentileContract,
    PublishedCheckpointContract,
):
    """Meets the contracts of all association systems."""

    @pytest.fixture(autouse=True)
    def same_alignment(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let weights that were trained without the finder of `installed` be used with it."""
        if "installed" in request.fixturenames:
            monkeypatch.setattr("fop.embedder.FopEmbedder._require_same", lambda *_: None)

    @pytest.mark.usefixtures("real_networks")
    def test_bundled_checkpoint_has_a_disclaimer(
        self, system: SystemUnderTest, utterances: list[Path], images: list[Path]
    ) -> None:
        super().test_bundled_checkpoint_has_a_disclaimer(system, utterances, images)

    @pytest.mark.usefixtures("real_networks")
    def test_weights_say_which_crops_they_were_trained_on(self, system: SystemUnderTest) -> None:
        super().test_weights_say_which_crops_they_were_trained_on(system)

    def test_paths_strings_and_arrays_give_the_same_embeddings(
        self, embedder: "FopEmbedder", utterances: list[Path], images: list[Path]
    ) -> None:
        """Pictures of data folders are aligned by the encoder, arrays of a face are used as they are."""
        from voiceface.audio.loading import load_audio
        from voiceface.images.loading import load_image

        waveforms = [load_audio(path, scale="int16").astype(np.int16) for path in utterances[:2]]
        voices = embedder.embed_voices(utterances[:2])
        for same in ([str(path) for path in utterances[:2]], waveforms, np.stack(waveforms)):
            assert torch.equal(voices, embedder.embed_voices(same))
        assert torch.allclose(voices[:1], embedder.embed_voices(waveforms[0]), atol=1e-5)
        faces = embedder.embed_faces(images[:2])
        assert torch.equal(faces, embedder.embed_faces([str(path) for path in images[:2]]))
        files = np.stack([embedder.load_face(path) for path in images[:2]])
        assert torch.equal(faces, embedder.encode_faces(torch.from_numpy(files)))
        pixels = [load_image(path) for path in images[:2]]
        assert torch.equal(embedder.embed_faces(pixels), embedder.embed_faces(np.stack(pixels)))
        for embed in (embedder.embed_voices, embedder.embed_faces):
            assert embed([]).shape == (0, embedder.embedding_dim)

    @pytest.mark.usefixtures("installed")
    def test_faces_are_cut_out_as_in_the_training_pictures(
        self, embedder: "FopEmbedder", album: Path
    ) -> None:
        """Faces are aligned as the encoder expects them, in files of people's own and in arrays."""
        from voiceface.images.loading import ImageError
        from voiceface.images.photographs import load_photograph

        picture = load_photograph(album / "two.png")
        expected = embedder.embed_face_features(torch.from_numpy(embedder.face_encoder.encode(picture)))
        for given in (album / "two.png", picture):
            assert torch.equal(embedder.embed_faces(given), expected)
        with pytest.raises(ImageError, match=r"wall\.png: no face found"):
            embedder.embed_faces(album / "wall.png")

    @pytest.mark.usefixtures("installed")
    def test_pictures_of_the_population_are_left_as_they_are(
        self, embedder: "FopEmbedder", images: list[Path]
    ) -> None:
        """They are aligned as in training."""
        files = np.stack([embedder.load_face(path) for path in images])
        assert torch.equal(embedder.embed_faces(images), embedder.encode_faces(torch.from_numpy(files)))

    @pytest.mark.parametrize("form", ["as_published", "parallel", "bare"])
    def test_every_form_gives_the_same_model(  # type: ignore[override]
        self,
        system: SystemUnderTest,
        published: "tuple[Path, Mapping[str, Tensor]]",
        tmp_path: Path,
        form: str,
    ) -> None:
        """The encoders of published files are programs of others: features of theirs are embedded."""
        path, expected = published
        if form != "as_published":
            write_form(path, tmp_path / path.name, form, system.published_key)
            path = tmp_path / path.name
        embedder = system.load(path)
        assert embedder.identity_names is None and embedder.source == path.name and not embedder.disclaimer
        state = embedder.model.state_dict()
        assert all(torch.equal(state[key], value) for key, value in expected.items())
        features = make_features(voice_dim=512, face_dim=4096)
        voices, faces = embedder.embed_features(features)  # type: ignore[attr-defined]
        assert voices.vectors.shape == (len(features.voices), 132) and np.isfinite(faces.vectors).all()
