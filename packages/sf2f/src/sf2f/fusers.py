"""Attention fusers: the window embeddings of a speaker to one vector, by attention among them.

Notation: B speakers, S windows of each, D embedding size, Q queries, C context. Parameter names are the
published ones.
"""

import torch
from torch import Tensor, nn

from sf2f.network_config import AttentionKind, FuserConfig, FuserKind

__all__ = [
    "FUSERS",
    "Attention",
    "AttentionFuserV1",
    "AttentionFuserV2",
    "AttentionFuserV3",
    "build_fuser",
    "masked_mean",
    "require_windows",
]


class Attention(nn.Module):
    """Unscaled attention: softmax of the products of queries with the context.

    Args:
        embedding_dim: size D of queries and context.
        out_dim: size of the results; None: D.
        kind: see `AttentionKind`.
        linear_out: project the concatenated mixture and query; else return the mixture.
        ignore_tanh: skip the final tanh.

    Raises:
        ValueError: `out_dim` differs from D without `linear_out`.
    """

    def __init__(
        self,
        embedding_dim: int,
        out_dim: int | None = None,
        kind: AttentionKind = "general",
        linear_out: bool = True,
        ignore_tanh: bool = False,
    ) -> None:
        super().__init__()
        self.out_dim = out_dim or embedding_dim
        if not linear_out and self.out_dim != embedding_dim:
            raise ValueError(f"without linear_out, out_dim must be {embedding_dim}, found {self.out_dim}")
        self.linear_in = nn.Linear(embedding_dim, embedding_dim, bias=False) if kind == "general" else None
        self.linear_out = nn.Linear(2 * embedding_dim, self.out_dim, bias=False) if linear_out else None
        self.ignore_tanh = ignore_tanh

    def forward(self, query: Tensor, context: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Attend from queries to the context.

        Args:
            query: (B, Q, D).
            context: (B, C, D).
            mask: (B, C), False for padding, which is not attended to.

        Returns:
            Results (B, Q, out_dim) and weights (B, Q, C), rows of which sum to one.
        """
        if self.linear_in is not None:
            query = self.linear_in(query)
        scores = query @ context.transpose(1, 2)
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None], -torch.inf)
        weights = scores.softmax(2)
        mixed = weights @ context
        if self.linear_out is not None:
            mixed = self.linear_out(torch.cat([mixed, query], dim=2))
        return mixed if self.ignore_tanh else mixed.tanh(), weights


class AttentionFuserV1(nn.Module):
    """Attention fuser: one attention layer among the windows, then their mean."""

    def __init__(self, config: FuserConfig, embedding_dim: int, out_dim: int | None = None) -> None:
        super().__init__()
        self.attention = Attention(
            embedding_dim, out_dim, config.attention, config.linear_out, ignore_tanh=config.ignore_tanh
        )

    def forward(self, windows: Tensor, mask: Tensor | None = None) -> Tensor:
        """Fuse embeddings (B, S, D) to vectors (B, D), not normalised; `mask` (B, S) as in `Attention`."""
        return masked_mean(self.attention(windows, windows, mask)[0], mask)


class AttentionFuserV2(nn.Module):
    """Attention fuser: two attention layers, the first with tanh, then the mean."""

    def __init__(self, config: FuserConfig, embedding_dim: int, out_dim: int | None = None) -> None:
        super().__init__()
        options = config.attention, config.linear_out
        self.attention_1 = Attention(embedding_dim, None, *options, ignore_tanh=False)
        self.attention_2 = Attention(embedding_dim, out_dim, *options, ignore_tanh=True)

    def forward(self, windows: Tensor, mask: Tensor | None = None) -> Tensor:
        """As `AttentionFuserV1.forward`."""
        hidden = self.attention_1(windows, windows, mask)[0]
        return masked_mean(self.attention_2(hidden, hidden, mask)[0], mask)


class AttentionFuserV3(nn.Module):
    """Attention fuser: two attention layers; the second also gets the normalised output of the first."""

    def __init__(self, config: FuserConfig, embedding_dim: int, out_dim: int | None = None) -> None:
        super().__init__()
        if not config.linear_out:
            raise ValueError(
                "fuser v3 needs linear_out=true, which projects the concatenated inputs back to embedding_dim"
            )
        self.attention_1 = Attention(embedding_dim, None, config.attention, ignore_tanh=False)
        self.attention_2 = Attention(
            2 * embedding_dim, out_dim or embedding_dim, config.attention, ignore_tanh=True
        )

    def forward(self, windows: Tensor, mask: Tensor | None = None) -> Tensor:
        """As `AttentionFuserV1.forward`."""
        hidden = nn.functional.normalize(self.attention_1(windows, windows, mask)[0], dim=2, eps=1e-12)
        both = torch.cat([hidden, windows], dim=2)
        return masked_mean(self.attention_2(both, both, mask)[0], mask)


FUSERS: dict[FuserKind, type[AttentionFuserV1 | AttentionFuserV2 | AttentionFuserV3]] = {
    "v1": AttentionFuserV1,
    "v2": AttentionFuserV2,
    "v3": AttentionFuserV3,
}


def build_fuser(config: FuserConfig, embedding_dim: int, out_dim: int | None = None) -> nn.Module:
    """Build the fuser of a configuration.

    Args:
        config: how windows are fused.
        embedding_dim: embedding size D.
        out_dim: size of the fused vector; None: D, which decoders expect.
    """
    return FUSERS[config.kind](config, embedding_dim, out_dim)


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over windows (B, S, D) where the mask (B, S) is True; over all without a mask."""
    if mask is None:
        return values.mean(1)
    masked = values.masked_fill(~mask[:, :, None], 0.0)
    return masked.sum(1) / mask.sum(1, keepdim=True)


def require_windows(windows: Tensor, mask: Tensor | None) -> None:
    """Check embeddings (B, S, ...) and mask before fusion.

    Raises:
        ValueError: no window, a mask of another shape or dtype, or a speaker without a window.
    """
    if not windows.shape[1]:
        raise ValueError(
            f"at least one window of each speaker is required, found shape {tuple(windows.shape)}"
        )
    if mask is None:
        return
    if mask.shape != windows.shape[:2] or mask.dtype != torch.bool:
        raise ValueError(
            f"the mask must be bool of shape {tuple(windows.shape[:2])}, found {mask.dtype} of shape "
            f"{tuple(mask.shape)}"
        )
    empty = (~mask.any(1)).nonzero().flatten().tolist()
    if empty:
        raise ValueError(f"the mask leaves items {empty[:8]} without a window; exclude these speakers")
