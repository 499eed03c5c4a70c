"""Contract for published checkpoints: every form of the file gives the same model, and none runs code."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from voiceface.testing.contracts.subject import SystemUnderTest

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["PublishedCheckpointContract", "write_form"]


def write_form(source: Path, target: Path, form: str, key: str) -> None:
    """Write a published checkpoint in another form: "parallel" or "bare".

    Args:
        source: the checkpoint, a dictionary.
        target: file to write.
        form: keys with the prefix of data-parallel training, in the file format before PyTorch 1.6; or the
            state dict alone.
        key: key of the checkpoint that holds the state dict.
    """
    import torch

    content: dict[str, Any] = torch.load(source, weights_only=True, mmap=True)
    state = content[key]
    if form == "parallel":
        state = {f"module.{name}": value for name, value in state.items()}
        torch.save({**content, key: state}, target, _use_new_zipfile_serialization=False)
    else:
        torch.save(state, target)


class PublishedCheckpointContract:
    """Files in the form of the published checkpoints, written by the system."""

    @pytest.fixture(scope="class")
    def published(
        self, system: SystemUnderTest, tmp_path_factory: pytest.TempPathFactory
    ) -> "tuple[Path, Mapping[str, Tensor]]":
        """Write a published checkpoint; returns its path and the tensors of the model."""
        path = tmp_path_factory.mktemp("published") / "checkpoint.pth.tar"
        return path, system.write_published(path)

    @pytest.mark.parametrize("form", ["as_published", "parallel", "bare"])
    def test_every_form_gives_the_same_model(
        self,
        system: SystemUnderTest,
        published: "tuple[Path, Mapping[str, Tensor]]",
        utterances: list[Path],
        images: list[Path],
        tmp_path: Path,
        form: str,
    ) -> None:
        import torch

        path, expected = published
        if form != "as_published":
            write_form(path, tmp_path / path.name, form, system.published_key)
            path = tmp_path / path.name
        embedder = system.load(path)
        assert embedder.identity_names is None and embedder.source == path.name and not embedder.disclaimer
        assert embedder.face_crop == embedder.pictures.convention == "vggface_frontal"
        state = embedder.model.state_dict()
        assert all(torch.equal(state[key], value) for key, value in expected.items())
        scores = embedder.score(embedder.embed_voices(utterances[:1]), embedder.embed_faces(images[:1]))
        assert scores.shape == (1, 1) and torch.isfinite(scores).all()
        if form != "as_published":
            path.unlink()  # hundreds of megabytes

    def test_missing_key_is_named(
        self, system: SystemUnderTest, published: "tuple[Path, Mapping[str, Tensor]]", tmp_path: Path
    ) -> None:
        import torch

        from voiceface.checkpoints.published import CheckpointError

        content: dict[str, Any] = torch.load(published[0], weights_only=True, mmap=True)
        state = dict(content[system.published_key])
        del state[system.required_key]
        path = tmp_path / "incomplete.pth.tar"
        torch.save({system.published_key: state}, path)
        with pytest.raises(CheckpointError, match=rf"{system.required_key}"):
            system.load(path)

    def test_file_of_another_system_is_refused(self, system: SystemUnderTest, tmp_path: Path) -> None:
        import torch

        from voiceface.checkpoints.published import CheckpointError

        path = tmp_path / "other.pth.tar"
        torch.save({system.published_key: {"fc.weight": torch.zeros(2)}}, path)
        with pytest.raises(CheckpointError, match=r"other\.pth\.tar.*fc"):
            system.load(path)

    def test_truncated_file_is_refused(
        self, system: SystemUnderTest, published: "tuple[Path, Mapping[str, Tensor]]", tmp_path: Path
    ) -> None:
        from voiceface.checkpoints.published import CheckpointError

        path = tmp_path / "truncated.pth.tar"
        with published[0].open("rb") as source:
            path.write_bytes(source.read(min(100_000, published[0].stat().st_size // 2)))
        with pytest.raises(CheckpointError, match=r"truncated\.pth\.tar is corrupt"):
            system.load(path)
