"""Configuration of the model, importable without PyTorch."""

from pydantic import Field, field_validator
from voiceface.association.encoder_config import EncodersConfig, FaceBackboneConfig, VoiceBackboneConfig

__all__ = ["PUBLISHED_FACE_ARCHS", "FaceConfig", "ModelConfig", "VoiceConfig"]

PUBLISHED_FACE_ARCHS = {"SEResNet50IR": "ir50"}  # the published name says SE; the network is the plain IR-50


class FaceConfig(FaceBackboneConfig):
    """Face branch; the defaults are the published IR-50."""

    num_features: int = Field(default=512, ge=1, description="length of the backbone's output")
    dropout: float = Field(default=0.5, ge=0, lt=1, description="before the backbone's last linear layer")
    head_dropout: float = Field(default=0.5, ge=0, lt=1, description="on the embedding, in training")

    @field_validator("arch", mode="before")
    @classmethod
    def _translate_published_arch(cls, value: object) -> object:
        return PUBLISHED_FACE_ARCHS.get(value, value) if isinstance(value, str) else value


class VoiceConfig(VoiceBackboneConfig):
    """Voice branch; the defaults are the published thin ResNet-34."""

    num_features: int = Field(default=512, ge=1, description="length of the backbone's output")
    head_dropout: float = Field(default=0.5, ge=0, lt=1, description="on the embedding, in training")


class ModelConfig(EncodersConfig):
    """Architecture; `num_classes` None: counted from the training identities."""

    face: FaceConfig = FaceConfig()
    voice: VoiceConfig = VoiceConfig()
    num_classes: int | None = Field(default=None, ge=2, description="training identities C; None: counted")
