"""Record of an association system, from which its commands, its demo and its plug-in are built."""

from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any

__all__ = ["SystemSpec"]


@dataclass(frozen=True)
class SystemSpec:
    """Record of an association system.

    Objects that need PyTorch are given as "package.module:object" and imported on first use, so that `--help`
    answers at once.

    Attributes:
        name: name of the package, of its program, and of the system in checkpoints.
        description: a few words for the page of `voiceface demo`.
        subtitle: subtitle of evaluation reports.
        config: configuration class of its experiments.
        build_model: (configuration, tensors by key, identity names or None) -> a model of the right shapes,
            still without these weights; raises CheckpointError if the tensors are no complete model.
        read_published: path of a published checkpoint -> (tensors by key, configuration).
        train: (configuration, data set, run folder, device=, resume=, disclaimer=) -> checkpoint.
        embedder: class that reads files for the model.
        training_set: (corpus, its folder, configuration, cache=folder) -> data set for `train`; what is
            computed of the files, such as features, is kept in `cache`. None: the corpus itself.
        validation_set: (data folder, configuration, cache=folder) -> what the demo gives `train` as
            `validation`; None: it does not validate.
        training_steps: (folder for runs, population folder, preset=, seed=, device=) -> (steps of the demo,
            run folder by name). None: one training with the configuration named like the preset.
        training_description: description of that one training, for the demo.
        identity_weights: dotted attribute of the network, identity weights (C,) for reports; None: none.
        requirements: function that raises FileNotFoundError or ValueError, with the remedy in one sentence,
            if bundled configurations and weights need what is not installed; it imports no PyTorch. None: the
            package is enough.
        computed_keys: shell patterns of state-dict keys that are computed with the model and may be missing.
        bundled_checkpoint: path of the bundled checkpoint inside the package.
        face_crop: convention of the faces that published weights were trained on, a key of
            `voiceface.faces.crops.CROP_CONVENTIONS`; also of own training data other than populations.
        graphs: (record, embedder, modalities=, seconds=) -> graphs by name, see
            `voiceface.association.onnx_export.build_graphs`.
        onnx_embedder: class that reads files for exported encoders; None: `embedder`.
    """

    name: str
    description: str
    subtitle: str
    config: str
    build_model: str
    read_published: str
    train: str
    embedder: str = "voiceface.association.embedder:Embedder"
    training_set: str | None = None
    validation_set: str | None = None
    training_steps: str | None = None
    training_description: str = "training on {identities} identities"
    identity_weights: str | None = None
    requirements: str | None = None
    computed_keys: tuple[str, ...] = ()
    bundled_checkpoint: str = "weights/population.safetensors"
    face_crop: str = "vggface_frontal"
    graphs: str = "voiceface.association.onnx_export:build_graphs"
    onnx_embedder: str | None = None

    def resolve(self, field: str) -> Any:
        """Import the object that a field names, such as ``resolve("config")``."""
        return resolve_name(getattr(self, field))
