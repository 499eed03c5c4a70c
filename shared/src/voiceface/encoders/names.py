"""The two encoders named `real`."""

from voiceface.encoders.interface import Modality

__all__ = ["REAL_DIMENSIONS", "REAL_NETWORKS"]

REAL_NETWORKS: dict[Modality, tuple[str, ...]] = {
    "voice": ("voice_encoder",),
    "face": ("face_encoder", "face_detector", "face_mesh"),
}
"""Networks that the encoder `real` of each modality needs, itself first."""
REAL_DIMENSIONS: dict[Modality, int] = {"voice": 256, "face": 128}
"""Lengths of their features."""
