"""What the shared commands need of a system on frozen encoders: its networks, and validation people."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fop.config import FopConfig
    from fop.validation import FeatureValidation

__all__ = ["REAL_NETWORKS", "encode_validation_set", "require_real_networks"]

REAL_NETWORKS = ("voice_encoder", "face_encoder", "face_detector", "face_mesh")
"""Networks behind the encoders `real`, of the bundled configurations and weights."""


def require_real_networks() -> None:
    """Check that the networks of the bundled configurations and weights were fetched; nothing is loaded.

    Raises:
        voiceface.real.installation.MissingModelError: one is missing; names the command that fetches it.
    """
    from voiceface.real.installation import require_installed

    for name in REAL_NETWORKS:
        require_installed(name)


def encode_validation_set(
    data: Path, config: "FopConfig", *, cache: Path | None = None
) -> "FeatureValidation | None":
    """Encode the people of the validation split of a data folder.

    Args:
        data: data folder.
        config: the experiment; None is returned if it does not validate.
        cache: folder of finished features, from which a stopped run is resumed; None: no cache.

    Raises:
        ValueError, OSError: an encoder is not installed, or the data cannot be used.
    """
    if config.training.validation_interval is None:
        return None
    from voiceface.association.data import load_validation

    from fop.training_data import encode_training_set
    from fop.validation import FeatureValidation

    found = load_validation(data, config)  # type: ignore[arg-type]
    features = encode_training_set(found.corpus, data, config, cache=cache)
    return FeatureValidation(features, found.trial_list)
