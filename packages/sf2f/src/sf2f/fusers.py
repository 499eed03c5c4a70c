"""Embedding fusers: the embeddings of a speaker's windows to one vector, by attention among them.

Letters: B speakers, S windows of each, D embedding length, Q queries, C context (specification, section 4).
Parameter names are the published ones.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from voiceface.runtime.config import Config

FuserKind = Literal["v1", "v2", "v3"]
AttentionKind = Literal["general", "dot"]


class FuserConfig(Config):
    """How windows are fused; the defaults are the published ones."""

    kind: FuserKind = Field(
        default="v1", description="v1: one layer (the paper's); v2: two; v3: two, the second sees both"
    )
    attention: AttentionKind = Field(
        default="general", description="general: queries pass through a matrix first; dot: they do not"
    )
    ignore_tanh: bool = Field(default=True, description="v1: no tanh after the layer; v2, v3 have their own")
    linear_out: bool = Field(default=True, description="a matrix makes one vector of mix and query")
    normalise: bool = Field(default=True, description="the fused vector has length one")


class Attention(nn.Module):
    """Attention without scaling: softmax of the products of queries with the context.

    Args:
        size: length D of queries and context.
        out_dim: length of the results; None: D.
        kind: `AttentionKind`.
        linear_out: results are a matrix times (mix of the context, projected query); else the mix.
        ignore_tanh: leave out the tanh at the end.

    Raises:
        ValueError: without `linear_out` the results have length D, but another one is asked for.
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
            raise ValueError(
                f"without linear_out the results have length {embedding_dim}, asked for {self.out_dim}"
            )
        self.linear_in = nn.Linear(embedding_dim, embedding_dim, bias=False) if kind == "general" else None
        self.linear_out = nn.Linear(2 * embedding_dim, self.out_dim, bias=False) if linear_out else None
        self.ignore_tanh = ignore_tanh

    def forward(self, query: Tensor, context: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Attend.

        Args:
            query: (B, Q, D).
            context: (B, C, D).
            mask: (B, C), False where the context is padding that must not be seen.

        Returns:
            Results (B, Q, out) and weights (B, Q, C), rows of which sum to one.
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
    """One layer of attention among the windows, then their mean."""

    def __init__(self, config: FuserConfig, embedding_dim: int, out_dim: int | None = None) -> None:
        super().__init__()
        self.attention = Attention(
            embedding_dim, out_dim, config.attention, config.linear_out, ignore_tanh=config.ignore_tanh
        )

    def forward(self, windows: Tensor, mask: Tensor | None = None) -> Tensor:
        """Embeddings (B, S, D) to fused vectors (B, D), not of unit length; `mask` (B, S) as in `fuse`."""
        return masked_mean(self.attention(windows, windows, mask)[0], mask)


class AttentionFuserV2(nn.Module):
    """Two layers, the first with tanh, then the mean."""

    def __init__(self, config: FuserConfig, embedding_dim: int, out_dim: int | None = None) -> None:
        super().__init__()
        how = config.attention, config.linear_out
        self.attention_1 = Attention(embedding_dim, None, *how, ignore_tanh=False)
        self.attention_2 = Attention(embedding_dim, out_dim, *how, ignore_tanh=True)

    def forward(self, windows: Tensor, mask: Tensor | None = None) -> Tensor:
        """As `AttentionFuserV1.forward`."""
        hidden = self.attention_1(windows, windows, mask)[0]
        return masked_mean(self.attention_2(hidden, hidden, mask)[0], mask)


class AttentionFuserV3(nn.Module):
    """Two layers; the second sees the unit results of the first and the embeddings side by side."""

    def __init__(self, config: FuserConfig, embedding_dim: int, out_dim: int | None = None) -> None:
        super().__init__()
        if not config.linear_out:
            raise ValueError("fuser v3 needs linear_out: it alone brings twice the length back to one")
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
    """The fuser of a configuration.

    Args:
        config: how windows are fused.
        embedding_dim: length D of the embeddings.
        out_dim: length of the fused vector; None: D, which is what decoders take.
    """
    return FUSERS[config.kind](config, embedding_dim, out_dim)


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over the windows (B, S, D) that the mask (B, S) lets count; over all without one."""
    if mask is None:
        return values.mean(1)
    counted = values.masked_fill(~mask[:, :, None], 0.0)
    return counted.sum(1) / mask.sum(1, keepdim=True)


def require_windows(windows: Tensor, mask: Tensor | None) -> None:
    """Check embeddings (B, S, ...) and a mask before they are fused.

    Raises:
        ValueError: no window at all, a mask of another shape or type, or a speaker without a window.
    """
    if not windows.shape[1]:
        raise ValueError(f"at least one window of each speaker needed, found shape {tuple(windows.shape)}")
    if mask is None:
        return
    if mask.shape != windows.shape[:2] or mask.dtype != torch.bool:
        raise ValueError(
            f"the mask must be bool of shape {tuple(windows.shape[:2])}, found {mask.dtype} of shape "
            f"{tuple(mask.shape)}"
        )
    empty = (~mask.any(1)).nonzero().flatten().tolist()
    if empty:
        raise ValueError(f"the mask leaves items {empty[:8]} without a window; leave such speakers out")
