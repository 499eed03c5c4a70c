"""The two branches of a trained association model, as encoders of files."""

from typing import TYPE_CHECKING

from voiceface.embeddings.encoder_info import POPULATION, EncoderInfo, Modality

if TYPE_CHECKING:
    from voiceface.association.embedder import Embedder

__all__ = ["describe_branch"]


def describe_branch(model: "Embedder", modality: Modality, system: str, weights: str = "") -> EncoderInfo:
    """Describe one branch of a model.

    Args:
        model: trained model.
        modality: of the branch.
        system: its name.
        weights: where they are from; "": the bundled ones.
    """
    return EncoderInfo(
        f"{system}:{weights}" if weights else system,
        modality,
        model.embedding_dim,
        licence="as its makers state" if weights else "MIT, as the project",
        wants=model.describe_input(modality),
        trained_on=(POPULATION,) if model.disclaimer else (),
        disclaimer=model.disclaimer,
        fingerprint=model.fingerprint,
        identities=tuple(model.identity_names or ()),
    )
