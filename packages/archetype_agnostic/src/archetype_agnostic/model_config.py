"""Configuration of the model, importable without PyTorch."""

from typing import Literal

from pydantic import Field
from voiceface.association.encoder_config import EncodersConfig, FaceBackboneConfig, VoiceBackboneConfig

__all__ = ["FaceConfig", "ModelConfig", "VoiceConfig"]


class FaceConfig(FaceBackboneConfig):
    """Face encoder; the defaults are the published IR-152."""

    arch: Literal["ir50", "ir101", "ir152"] = Field(
        default="ir152", description="units per stage, unless `blocks` is given"
    )
    hidden_dim: int = Field(default=256, ge=1, description="width of the head's hidden layer")


class VoiceConfig(VoiceBackboneConfig):
    """Voice encoder; the defaults are the published thin ResNet-34."""

    hidden_dim: int = Field(default=128, ge=1, description="width of the head's hidden layer")


class ModelConfig(EncodersConfig):
    """Architecture; `num_classes` None: counted from the training identities."""

    face: FaceConfig = FaceConfig()
    voice: VoiceConfig = VoiceConfig()
    num_classes: int | None = Field(default=None, ge=1, description="training identities C; None: counted")
