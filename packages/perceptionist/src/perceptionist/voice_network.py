"""Voice network `e`: log-mel features of a recording to a vector that tells speakers apart.

Letters: B batch, M mel bands, T frames, D embedding length. Parameter names are the published ones
(specification, section 4.1).
"""

from pydantic import Field
from torch import Tensor, nn
from voiceface.runtime.config import Config


class VoiceNetworkConfig(Config):
    """Sizes of the voice network; the defaults are the published ones."""

    n_mels: int = Field(default=64, ge=1, description="mel bands M of the features")
    channels: tuple[int, ...] = Field(
        default=(256, 384, 576, 864), min_length=1, description="of the convolutions before the last"
    )
    embedding_dim: int = Field(default=64, ge=1, description="length D of the embedding")


class VoiceNetwork(nn.Module):
    """Convolutions that halve the time each, batch norm and ReLU after all but the last, mean over time."""

    def __init__(self, config: VoiceNetworkConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or VoiceNetworkConfig()
        layers: list[nn.Module] = []
        before = config.n_mels
        for width in config.channels:
            layers += [nn.Conv1d(before, width, 3, 2, 1, bias=False), nn.BatchNorm1d(width)]
            layers.append(nn.ReLU(inplace=True))
            before = width
        self.model = nn.Sequential(*layers, nn.Conv1d(before, config.embedding_dim, 3, 2, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, M, T), T at least 1, to embeddings (B, D), not of unit length.

        Raises:
            ValueError: another shape.
        """
        if features.ndim != 3 or features.shape[1] != self.config.n_mels or not features.shape[2]:
            raise ValueError(
                f"voice features must be (B, {self.config.n_mels}, frames), found {tuple(features.shape)}"
            )
        return self.model(features).mean(2)

    def encode(self, features: Tensor) -> Tensor:
        """Features (B, M, T) to unit embeddings (B, D), as generator and supervised head take them."""
        return l2_normalize(self(features))


def l2_normalize(embeddings: Tensor) -> Tensor:
    """Rows of length one; rows shorter than 1e-12 are divided by that instead."""
    return nn.functional.normalize(embeddings, dim=1, eps=1e-12)
