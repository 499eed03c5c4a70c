"""Generator: encoder, fuser and decoder in one module, and the choice of trainable parts.

Letters: B speakers, S windows of each, M mel bands, T frames, D embedding size.
"""

from typing import Any, NamedTuple, Self, TypeAlias, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sf2f.decoders import FaceGanDecoder, FaceGanV2Decoder, V2FDecoder
from sf2f.encoders import VoiceEncoder
from sf2f.fusers import require_windows
from sf2f.network_config import FrozenNorms, GeneratorConfig
from sf2f.optional_decoders import AttnV2FDecoder, MRDecoder

__all__ = [
    "DECODERS",
    "EncoderDecoder",
    "GeneratorOutput",
    "Noise",
    "freeze_except_fuser",
]

Noise: TypeAlias = Tensor | torch.Generator | None
"""Standard normal numbers (N, D), a generator that draws them, or None."""
DECODERS: dict[str, Any] = {
    "v2f": V2FDecoder,
    "facegan": FaceGanDecoder,
    "facegan_v2": FaceGanV2Decoder,
    "mr": MRDecoder,
    "attn_v2f": AttnV2FDecoder,
}


class GeneratorOutput(NamedTuple):
    """Output of the generator for a batch.

    Attributes:
        images: one tensor (B, 3, side, side) per size, smallest first, in the normalised space of the
            training images.
        embedding: (B, D), the decoded vector.
    """

    images: tuple[Tensor, ...]
    embedding: Tensor


class EncoderDecoder(nn.Module):
    """The generator, with the published names `encoder.` (which contains the fuser) and `decoder.`."""

    def __init__(self, config: GeneratorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or GeneratorConfig()
        self.encoder = VoiceEncoder(config.encoder, config.fuser)
        self.decoder: nn.Module = DECODERS[config.decoder.kind](config.decoder, config.encoder.embedding_dim)
        self.eval_submodules: tuple[str, ...] = ()

    @property
    def image_sizes(self) -> tuple[int, ...]:
        """Image sides in pixels, smallest first."""
        return self.config.image_sizes

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all parts except those fixed by `freeze_except_fuser`."""
        super().train(mode)
        for name in self.eval_submodules:
            self.get_submodule(name).eval()
        return self

    def encode(self, mel: Tensor, noise: Noise = None) -> Tensor:
        """Encode windows (N, M, T) to embeddings (N, D).

        Raises:
            ValueError: as `VoiceEncoder.forward_features` and `VoiceEncoder.forward_head`.
        """
        return self.encoder(mel, noise)

    def fuse(self, embeddings: Tensor, mask: Tensor | None = None) -> Tensor:
        """Fuse the window embeddings of each speaker to one vector.

        Args:
            embeddings: (B, S, D).
            mask: (B, S), False for padding, which is neither attended to nor averaged.

        Returns:
            (B, D).

        Raises:
            ValueError: no fuser, another shape, or a speaker without a window.
        """
        fuser = self.encoder.attn_fuser
        if fuser is None or self.config.fuser is None:
            raise ValueError("several windows of a speaker need a fuser; this generator has none (stage 1)")
        size = self.config.encoder.embedding_dim
        if embeddings.ndim != 3 or embeddings.shape[2] != size:
            raise ValueError(f"embeddings must be (B, S, {size}), found {tuple(embeddings.shape)}")
        require_windows(embeddings, mask)
        fused = fuser(embeddings, mask)
        return F.normalize(fused) if self.config.fuser.normalise else fused

    def decode(self, embeddings: Tensor, sequence: Tensor | None = None) -> tuple[Tensor, ...]:
        """Decode embeddings (B, D) to images, smallest first, each (B, 3, side, side).

        Args:
            embeddings: (B, D).
            sequence: (B, D, L) of the encoder, for the decoder `attn_v2f` only.

        Raises:
            ValueError: another shape, `attn_v2f` without a sequence, or a single item in training.
        """
        size = self.config.encoder.embedding_dim
        if embeddings.ndim != 2 or embeddings.shape[1] != size:
            raise ValueError(f"embeddings must be (B, {size}), found {tuple(embeddings.shape)}")
        if self.config.decoder.kind != "attn_v2f":
            return self.decoder(embeddings)
        if sequence is None:
            raise ValueError("the attn_v2f decoder needs the encoder's sequence with the embedding")
        return self.decoder(embeddings, sequence)

    def forward(
        self, mel: Tensor, mask: Tensor | None = None, average_batch: bool = False, noise: Noise = None
    ) -> GeneratorOutput:
        """Generate images from voices.

        Args:
            mel: windows (B, M, T), which bypass the fuser, or windows of speakers (B, S, M, T).
            mask: (B, S), see `fuse`.
            average_batch: decode the mean of the batch's embeddings, without normalising it.
            noise: see `VoiceEncoder.forward_head`; for windows of speakers B x S rows.

        Raises:
            ValueError: another shape, or as `encode`, `fuse` and `decode`.
        """
        if mel.ndim not in (3, 4):
            raise ValueError(f"windows must be (B, M, T) or (B, S, M, T), found {tuple(mel.shape)}")
        if mask is not None and mel.ndim == 3:
            raise ValueError("a mask requires windows (B, S, M, T)")
        sequence = None
        if mel.ndim == 4:
            if self.encoder.attn_fuser is None:
                raise ValueError("windows (B, S, M, T) need a fuser; this generator takes (B, M, T) only")
            require_windows(mel, mask)
            embedding = self.fuse(self.encode(mel.flatten(0, 1), noise).view(*mel.shape[:2], -1), mask)
        else:
            sequence = self.encoder.forward_features(mel)
            embedding = self.encoder.forward_head(sequence, noise)
        if average_batch:
            embedding = embedding.mean(0, keepdim=True)
            sequence = None if sequence is None else sequence.mean(0, keepdim=True)
        return GeneratorOutput(self.decode(embedding, sequence), embedding)


def freeze_except_fuser(
    generator: EncoderDecoder, train_decoder: bool = False, frozen_norms: FrozenNorms = "fixed"
) -> EncoderDecoder:
    """Freeze all parts except the fuser (stage 2), or except fuser and decoder.

    Args:
        generator: with a fuser; changed in place.
        train_decoder: also train the decoder's weights; its norms are treated like those of the encoder.
        frozen_norms: "fixed": norms of encoder and decoder stay in evaluation mode whatever `train` is called
            with, as the authors intended. "batch_statistics": they follow `train`, so they normalise by batch
            statistics and keep updating, as in the published code from its first preview on.

    Returns:
        The generator.

    Raises:
        ValueError: no fuser, or an unknown option.
    """
    if frozen_norms not in get_args(FrozenNorms):
        raise ValueError(f"frozen_norms must be one of {get_args(FrozenNorms)}, found {frozen_norms!r}")
    if generator.encoder.attn_fuser is None:
        raise ValueError("this generator has no fuser to train; add generator.fuser to its configuration")
    generator.requires_grad_(False)
    generator.encoder.attn_fuser.requires_grad_(True)
    generator.decoder.requires_grad_(train_decoder)
    generator.eval_submodules = ("encoder.model", "decoder") if frozen_norms == "fixed" else ()
    return generator.train(generator.training)
