"""Configuration of the two encoders, importable without PyTorch."""

from typing import Annotated, Literal

from pydantic import Field

from voiceface.models.architectures import (
    IRESNET_BLOCKS,
    IRESNET_WIDTHS,
    THIN_RESNET_BLOCKS,
    THIN_RESNET_STEM_STRIDE,
    THIN_RESNET_STRIDES,
    THIN_RESNET_WIDTHS,
)
from voiceface.runtime.config import Config

__all__ = ["EncodersConfig", "FaceBackboneConfig", "Stages", "Stride", "VoiceBackboneConfig"]

Stages = tuple[int, int, int, int]


class FaceBackboneConfig(Config):
    """Face backbone: IR network; the defaults are IR-50."""

    arch: Literal["ir50", "ir101", "ir152"] = Field(
        default="ir50", description="units per stage, unless `blocks` is given"
    )
    blocks: Stages | None = Field(default=None, description="units per stage; None: those of `arch`")
    widths: Stages = Field(default=IRESNET_WIDTHS, description="channels per stage")
    squeeze_excitation: bool = Field(
        default=False, description="squeeze-excitation in every unit (not in the published checkpoints)"
    )
    image_size: int = Field(default=112, ge=16, description="image side, pixels")
    stem_stride: int = Field(default=1, ge=1, le=2, description="of the first convolution")

    @property
    def units(self) -> Stages:
        """Residual units per stage."""
        a, b, c, d = self.blocks or IRESNET_BLOCKS[self.arch]
        return a, b, c, d


Stride = tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]


class VoiceBackboneConfig(Config):
    """Voice backbone: thin ResNet with its front end; the defaults are the thin ResNet-34."""

    blocks: Stages = Field(default=THIN_RESNET_BLOCKS, description="residual blocks per stage")
    widths: Stages = Field(default=THIN_RESNET_WIDTHS, description="channels per stage")
    stem_stride: Stride = Field(
        default=THIN_RESNET_STEM_STRIDE, description="(frequency, time) of the first convolution"
    )
    strides: tuple[Stride, Stride, Stride, Stride] = Field(
        default=THIN_RESNET_STRIDES, description="(frequency, time) of each stage"
    )
    pooling: Literal["sap", "asp"] = Field(
        default="sap", description="attentive mean, or mean and standard deviation"
    )
    n_mels: int = Field(default=40, ge=4, description="mel bands")
    f_min: float = Field(default=0.0, ge=0, description="lower end of the mel bands, Hz")
    f_max: float = Field(default=8000.0, gt=0, le=8000, description="upper end of the mel bands, Hz")


class EncodersConfig(Config):
    """Configuration of both encoders that all systems share."""

    face: FaceBackboneConfig = FaceBackboneConfig()
    voice: VoiceBackboneConfig = VoiceBackboneConfig()
    embedding_dim: int = Field(default=128, ge=1, description="length D of the common embedding")
