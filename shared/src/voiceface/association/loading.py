"""Load a trained model of any association system: bundled, native or published."""

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.association.system import SystemSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from voiceface.association.embedder import Embedder
    from voiceface.association.encoders import Encoders
    from voiceface.audio.loading import OnCorrupt

__all__ = ["load_embedder"]

SYNTHETIC_FACE_CROP = "population"


def load_embedder(
    spec: SystemSpec,
    weights: str | Path | None = None,
    *,
    device: str = "cpu",
    resample: bool | None = True,
    on_corrupt: "OnCorrupt | None" = None,
    **published_options: Any,
) -> "Embedder":
    """Load a trained model.

    Args:
        spec: the system.
        weights: checkpoint written by `train` (.safetensors), run folder, or published checkpoint
            (complete models only). None: the bundled checkpoint, trained on a synthetic population.
        device: "cpu", "cuda" or "auto" (a GPU if there is one).
        resample: convert utterances of another sampling rate to 16 kHz; if false, they are an error.
            None: as in training.
        on_corrupt: "error" refuses corrupt utterances, "salvage" uses what can be decoded and logs what
            is lost. None: as in training.
        published_options: options of the system's reader of published checkpoints.

    Returns:
        The model with its front ends; ``embed_voices`` and ``embed_faces`` give embeddings (N, D).

    Raises:
        CheckpointError: missing, corrupt, or of another system.
        ValueError: no such device.
    """
    from voiceface.checkpoints.paths import MODEL_FILE
    from voiceface.checkpoints.published import CheckpointError
    from voiceface.datasets.disclaimers import BUNDLED_MODEL_DISCLAIMER
    from voiceface.runtime.devices import choose_device

    device = str(choose_device(device))
    options = {"resample": resample, "on_corrupt": on_corrupt}
    if weights is None:
        bundled = resources.files(spec.name) / spec.bundled_checkpoint
        if not bundled.is_file():
            raise CheckpointError("No bundled checkpoint is installed; pass a checkpoint with --weights.")
        with resources.as_file(bundled) as path:
            found = _load_native(spec, path, device, options, BUNDLED_MODEL_DISCLAIMER)
        found.is_bundled = True
        return found
    path = Path(weights)
    if path.is_dir():
        path = path / MODEL_FILE
    if not path.is_file():
        raise CheckpointError(
            f"no checkpoint at {path}: expected a .safetensors file that `{spec.name} train` wrote, its run "
            "folder, or a published checkpoint"
        )
    if path.suffix == ".safetensors":
        return _load_native(spec, path, device, options)
    state, config = spec.resolve("read_published")(path, **published_options)
    config = config.with_input_options(**options)
    model = _build_with_weights(spec, config, state, None, path)
    embedder: Embedder = spec.resolve("embedder")(
        model, config, source=path.name, device=device, face_crop=spec.face_crop
    )
    return embedder


def _load_native(
    spec: SystemSpec, path: Path, device: str, options: dict[str, Any], disclaimer: str = ""
) -> "Embedder":
    """Load a native checkpoint."""
    from voiceface.checkpoints.native import load_model
    from voiceface.metrics.impostor_scores import ImpostorScores
    from voiceface.runtime.config import validate_config

    loaded = load_model(path, system=spec.name, kind="model")
    config = validate_config(loaded.config, spec.resolve("config"), f"configuration in {path}")
    config = config.with_input_options(**options)
    names, disclaimer = loaded.extra.get("names"), loaded.extra.get("disclaimer") or disclaimer
    model = _build_with_weights(spec, config, loaded.state, None if names is None else tuple(names), path)
    embedder: Embedder = spec.resolve("embedder")(
        model,
        config,
        identity_names=names,
        source=path.name,
        disclaimer=disclaimer,
        device=device,
        impostor_scores=ImpostorScores.from_values(loaded.extra.get("impostor_scores")),
        # Weights with a disclaimer were trained on a synthetic population.
        face_crop=SYNTHETIC_FACE_CROP if disclaimer else spec.face_crop,
    )
    embedder.metadata = loaded.extra
    return embedder


def _build_with_weights(
    spec: SystemSpec,
    config: Any,
    state: "Mapping[str, Tensor]",
    identity_names: tuple[str, ...] | None,
    path: Path,
) -> "Encoders":
    """Build a model and load its weights."""
    from voiceface.checkpoints.native import load_into

    model: Encoders = spec.resolve("build_model")(config, state, identity_names)
    load_into(model, state, ignore=spec.computed_keys, source=str(path))
    return model
