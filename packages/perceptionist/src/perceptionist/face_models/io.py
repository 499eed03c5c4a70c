"""Resolve, load and save face models: the embedded head, published layouts, and this package's own format."""

from collections.abc import Mapping
from pathlib import Path

from numpy.typing import ArrayLike

from perceptionist.face_models.bfm import Array, read_3ddfa_pack, read_model_folder
from perceptionist.face_models.linear import (
    REFERENCE_NAMES,
    FaceModelError,
    LinearFaceModel,
)

__all__ = [
    "FACE_MODEL_KIND",
    "load_face_model",
    "read_references",
    "resolve_face_model",
    "save_face_model",
    "with_references",
]


FACE_MODEL_KIND = "face_model"


def resolve_face_model(
    source: str | Path | None = None, references: str | Path | None = None
) -> LinearFaceModel:
    """Load a face model of any kind.

    Args:
        source: None or "population": the embedded head; "population gain 1": with life-like variation. A
            folder: `train.configs`, `3dmm_data` or equally named files, one of `perceptionist face-model`,
            or an ICT-FaceKit model folder. A file: this package's format (.safetensors) or 3DDFA_V2's pack
            (.pkl; with its whitening `param_mean_std*.pkl` in the same folder).
        references: folder with `male.obj` … `slim.obj` in place of the model's own reference shapes.

    Raises:
        FileNotFoundError: no such file or folder.
        FaceModelError, ArrayFileError, CheckpointError: not a face model.
    """
    from perceptionist.face_models.synthetic_head import build_synthetic_face_model, find_head

    head = find_head("population" if source is None else str(source))
    if source is None or head is not None:
        assert head is not None
        model = build_synthetic_face_model(head.face_gain)
        return with_references(model, references) if references else model
    path = Path(source)
    if path.is_dir():
        if list(path.glob("*neutral*.obj")):
            from perceptionist.face_models.ict_facekit import read_ict_facekit

            model = read_ict_facekit(path)
        else:
            model = _recognise_head(read_model_folder(path), path)
    elif path.suffix == ".safetensors":
        model = load_face_model(path)
    elif path.suffix == ".pkl":
        model = read_3ddfa_pack(path)
    elif path.exists():
        raise FaceModelError(f"{path}: suffix {path.suffix!r}, expected a folder, .safetensors or .pkl")
    else:
        raise FileNotFoundError(f"The face model {path} does not exist. Check the path.")
    return with_references(model, references) if references else model


def _recognise_head(model: LinearFaceModel, folder: Path) -> LinearFaceModel:
    """The population's head, if a folder of `perceptionist face-model` has its arrays; else the model."""
    import torch
    from voiceface.io.foreign_files import read_json

    from perceptionist.face_models.synthetic_head import build_synthetic_face_model

    if not (folder / "face_model.json").is_file():
        return model
    facts = read_json(folder / "face_model.json", FaceModelError, "the facts of a face model")
    gain = facts.get("face_gain")
    if not isinstance(gain, float) or not gain > 0:
        return model
    head = build_synthetic_face_model(gain)
    same = all(
        (mine := getattr(model, name)).shape == (known := getattr(head, name)).shape
        and torch.allclose(mine, known, rtol=1e-4, atol=1e-3)
        for name in ("mean", "shape_basis", "expression_basis")
    )
    return head if same else model


def read_references(folder: str | Path) -> dict[str, Array]:
    """Read reference shapes (N, 3) by name from a folder of `male.obj`, `female.obj`, `wide.obj`, ….

    Raises:
        FileNotFoundError: the folder has none of them.
        MeshError: a mesh file is invalid.
    """
    from perceptionist.meshio.obj import read_obj

    paths = {name: Path(folder) / f"{name}.obj" for name in REFERENCE_NAMES}
    references = {name: read_obj(path).vertices for name, path in paths.items() if path.is_file()}
    if not references:
        raise FileNotFoundError(f"{folder} has none of {', '.join(path.name for path in paths.values())}")
    return references


def with_references(model: LinearFaceModel, folder: str | Path) -> LinearFaceModel:
    """Return the model with reference shapes from a folder; see `read_references`."""
    return _replace_references(model, references=read_references(folder))


def save_face_model(path: str | Path, model: LinearFaceModel) -> None:
    """Save a face model as .safetensors with a digest, atomically.

    Raises:
        CheckpointError: another suffix.
        OSError: the file cannot be written.
    """
    import torch
    from voiceface.checkpoints.native import save_model

    state = {name: getattr(model, name) for name in _TENSOR_NAMES}
    state |= {name: torch.from_numpy(getattr(model, name)) for name in ("triangles", "landmarks")}
    state |= {f"reference.{name}": torch.from_numpy(points) for name, points in model.references.items()}
    config = {"name": model.name, "unit_mm": model.unit_mm, "scale": list(model.scale)}
    pairs = {name: list(pair) for name, pair in model.pairs.items()}
    save_model(
        path,
        state,
        system="perceptionist",
        kind=FACE_MODEL_KIND,
        config=config,
        extra={"pairs": pairs, "disclaimer": model.disclaimer},
    )


def load_face_model(path: str | Path) -> LinearFaceModel:
    """Load and verify a face model that `save_face_model` wrote.

    Raises:
        FileNotFoundError: no such file.
        CheckpointError: corrupt, modified, or not a face model.
    """
    from voiceface.checkpoints.native import load_model
    from voiceface.checkpoints.published import CheckpointError

    checkpoint = load_model(path, system="perceptionist", kind=FACE_MODEL_KIND)
    arrays = {key: value.numpy() for key, value in checkpoint.state.items()}
    references = {k.removeprefix("reference."): v for k, v in arrays.items() if k.startswith("reference.")}
    try:
        return LinearFaceModel(
            checkpoint.config["name"],
            *(arrays[key] for key in ("mean", "shape_basis", "expression_basis", "triangles", "landmarks")),
            pairs=checkpoint.extra["pairs"],
            parameter_mean=arrays["parameter_mean"],
            parameter_std=arrays["parameter_std"],
            scale=tuple(checkpoint.config["scale"]),
            references=references,
            unit_mm=checkpoint.config["unit_mm"],
            disclaimer=checkpoint.extra["disclaimer"],
        )
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{path} lacks parts of a face model ({error}). Save it again.") from None


_TENSOR_NAMES = ("mean", "shape_basis", "expression_basis", "parameter_mean", "parameter_std")


def _replace_references(model: LinearFaceModel, references: Mapping[str, ArrayLike]) -> LinearFaceModel:
    mean, shape, expression, parameter_mean, parameter_std = (
        getattr(model, name).detach().cpu().numpy() for name in _TENSOR_NAMES
    )
    return LinearFaceModel(
        model.name,
        mean,
        shape,
        expression,
        model.triangles,
        model.landmarks,
        pairs=model.pairs,
        parameter_mean=parameter_mean,
        parameter_std=parameter_std,
        scale=model.scale,
        references=references,
        unit_mm=model.unit_mm,
        disclaimer=model.disclaimer,
    )
