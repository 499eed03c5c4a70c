"""Ground-truth meshes of identities: from a synthetic population, or from a folder of mesh files.

Letters: I identities, N vertices, K coefficients.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from voiceface.metrics.unavailable import UnavailableResult

from perceptionist.proportions import GENDERS, mean_faces

if TYPE_CHECKING:
    from perceptionist.face_models.linear import LinearFaceModel

__all__ = [
    "MeshGroundTruth",
    "find_meshes",
    "load_ground_truth_folder",
    "load_synthetic_ground_truth",
]


Array = NDArray[Any]


@dataclass(frozen=True)
class MeshGroundTruth:
    """Ground-truth meshes and coefficients of identities.

    Attributes:
        identities: (I,) names. vertices: (I, N, 3), y up.
        genders: (I,) "male" or "female"; empty text if unknown.
        baselines: mean meshes (N, 3): "all" and, if genders are known, "male" and "female".
        coefficients: (I, K) semantic shape coefficients; None if unknown.
        coefficient_names: (K,).
        upper_bound: (K,) explained variance within gender that the true voice factors reach; None if unknown.
        gender_axis: (K,) Fisher direction between male and female coefficients; the midpoint is 0, male is
            positive; None if unknown.
        disclaimer: to show with every metric.
        unavailable: identities whose mesh cannot be used, with the reason.
    """

    identities: tuple[str, ...]
    vertices: Array
    genders: tuple[str, ...]
    baselines: Mapping[str, Array]
    coefficients: Array | None = None
    coefficient_names: tuple[str, ...] = ()
    upper_bound: Array | None = None
    gender_axis: Array | None = None
    disclaimer: str = ""
    unavailable: tuple[UnavailableResult, ...] = ()


def load_synthetic_ground_truth(
    root: str | Path, identities: Sequence[str], training_identities: Sequence[str] = ()
) -> MeshGroundTruth:
    """Generate the true heads of identities of a written population from its settings; needs no mesh files.

    Args:
        root: population folder.
        identities: face names of the identities to evaluate.
        training_identities: identities whose means are the baselines; empty: the means of the distribution.

    Raises:
        FileNotFoundError: no population.
        voiceface.synthetic.ground_truth.GroundTruthError: an identity is not in it.
        voiceface.synthetic.layout.PopulationError: another version of the population's generator wrote it.
    """
    from voiceface.synthetic.ground_truth import GroundTruthError, read_ground_truth
    from voiceface.synthetic.head import shape_space
    from voiceface.synthetic.head.shape_space import shape_coefficients
    from voiceface.synthetic.identities import sample_identities
    from voiceface.synthetic.layout import POPULATION_FILE, PopulationSettings, get_face_name
    from voiceface.synthetic.oracle import max_shape_r2

    from perceptionist.face_models.synthetic_head import (
        DISCLAIMER,
        EMBEDDED_HEAD,
        PopulationHead,
        equivalent_coefficients,
        frontal_vertices,
        gender_axis,
    )

    settings = PopulationSettings(**read_ground_truth(root).settings)
    settings.require_current(Path(root) / POPULATION_FILE)
    number_of = {get_face_name(k, settings): k for k in settings.ids()}
    missing = [name for name in (*identities, *training_identities) if name not in number_of]
    if missing:
        raise GroundTruthError(
            f"{len(missing)} identities are not in the population {root}; the first is {missing[0]}"
        )
    options = {word: getattr(settings, word) for word in ("seed", "rho", "share_sex", "confound")}
    population = PopulationHead(settings.face_gain)
    head = population.model

    def sample(names: Sequence[str]) -> tuple[Array, tuple[str, ...], Array]:
        """Coefficients, genders and coupling of identities."""
        factors = sample_identities([number_of[name] for name in names], **options)
        genders = tuple("male" if male else "female" for male in factors.face_sex)
        return shape_coefficients(factors), genders, factors.coupling

    coefficients, genders, coupling = sample(identities)
    if training_identities:
        training_coefficients, training_genders, _ = sample(training_identities)
        baselines = mean_faces(frontal_vertices(head, training_coefficients), training_genders)
    else:
        shift = shape_space.sex_shift()
        means = {"all": 0 * shift, "male": shift, "female": -shift}
        baselines = {word: frontal_vertices(head, each) for word, each in means.items()}
    return MeshGroundTruth(
        tuple(identities),
        frontal_vertices(head, coefficients),
        genders,
        baselines,
        equivalent_coefficients(coefficients, population, EMBEDDED_HEAD),
        tuple(shape_space.SHAPE_NAMES),
        max_shape_r2(coupling),
        gender_axis(),
        DISCLAIMER,
    )


def load_ground_truth_folder(
    root: str | Path, identities: Sequence[str], model: "LinearFaceModel", meta: str | Path | None = None
) -> MeshGroundTruth:
    """Load ground truth in the published layout: the first .xyz (else .obj) of `ROOT/NAME/`.

    Baselines are the face model's mean and, if `meta` has the genders, its mean male and female face. An
    identity whose mesh cannot be read, or has another number of vertices, is left out and listed.

    Args:
        root: folder such as `A2E_val`, or `mesh/` of a population.
        identities: names.
        model: face model of the meshes.
        meta: `vox1_meta.csv`; None: no genders.

    Raises:
        FileNotFoundError: no identity has ground truth.
        ValueError: none of the meshes can be used.
    """
    import torch

    from perceptionist.meshio.io import read_mesh
    from perceptionist.meshio.xyz import read_xyz

    meshes, kept = [], []
    unavailable = []
    for name in identities:
        paths = sorted((Path(root) / name).glob("*.xyz")) or sorted((Path(root) / name).glob("*.obj"))
        if paths:
            first = paths[0]
            try:
                mesh = read_xyz(first) if first.suffix == ".xyz" else read_mesh(first).vertices
                if len(mesh) != model.num_vertices:
                    raise ValueError(
                        f"{first}: a mesh of {len(mesh)} vertices, the face model {model.name} has "
                        f"{model.num_vertices}. Pass the face model of the meshes as --face-model."
                    )
            except (ValueError, OSError) as error:
                unavailable.append(UnavailableResult.from_error(f"identity {name}", error))
                continue
            meshes.append(mesh)
            kept.append(name)
    if unavailable and not kept:
        raise ValueError("; ".join(each.reason for each in unavailable[:5]))
    if not kept:
        raise FileNotFoundError(
            f"{root} has no NAME/*.xyz or NAME/*.obj of any of the {len(identities)} identities."
        )
    gender_of = _read_genders(meta) if meta else {}
    genders = tuple(gender_of.get(name, "") for name in kept)
    mean = model.vertices(torch.zeros(1, model.num_shape))[0].T.cpu().numpy()
    baselines: dict[str, Array] = {"all": mean} | {
        gender: model.references[gender] for gender in GENDERS if gender in model.references
    }
    if not {*GENDERS} <= {*baselines}:
        genders = ("",) * len(kept)
    return MeshGroundTruth(
        tuple(kept),
        np.stack(meshes),
        genders,
        baselines,
        disclaimer=model.disclaimer,
        unavailable=tuple(unavailable),
    )


def find_meshes(root: str | Path) -> Iterator[tuple[str, Path]]:
    """Iterate over (identity, mesh file) of `ROOT/NAME/*.obj` (or .ply, .xyz), sorted.

    Raises:
        FileNotFoundError: no such folder, or no meshes in it.
    """
    folder = Path(root)
    suffixes = (".obj", ".ply", ".xyz")
    paths = sorted(p for p in folder.glob("*/*") if p.suffix in suffixes) if folder.is_dir() else []
    if not paths:
        raise FileNotFoundError(f"{folder} has no NAME/*.obj. To generate meshes: perceptionist test")
    return ((path.parent.name, path) for path in paths)


def _read_genders(meta: str | Path) -> dict[str, str]:
    """Read name -> "male" or "female" from `vox1_meta.csv`."""
    import csv
    import io

    from voiceface.datasets.identities import IdentityError
    from voiceface.io.foreign_files import read_file_text

    text = read_file_text(meta, IdentityError, "a metadata table")
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter="\t"))[1:]
    except csv.Error as error:
        raise IdentityError(f"{meta} is not a table ({error}); download it again") from None
    words = {"m": "male", "f": "female"}
    return {row[1]: words[row[2]] for row in rows if len(row) > 2 and row[2] in words}
