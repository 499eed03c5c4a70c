"""Voice network `e`: log-mel features of an utterance to a speaker embedding.

The architecture is that of Wen et al. (NeurIPS 2019), which the paper builds on. Letters: B batch, M mel
bands, T frames, D embedding length. Parameter names are the published ones.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from perceptionist.network_config import VoiceNetworkConfig

__all__ = [
    "VoiceNetwork",
]


class VoiceNetwork(nn.Module):
    """Convolutions with stride 2, batch norm and ReLU after all but the last, then the mean over time."""

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
        """Features (B, M, T) to unit embeddings (B, D), the input of generator and supervised head."""
        return F.normalize(self(features))
