"""Predicted meshes against true ones: what `perceptionist evaluate` computes.

Letters: L predictions, N vertices, I people, S shape numbers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from voiceface.metrics.geometry import ErrorComparison, explained_variance, person_means

from perceptionist.proportions import SEXES, compare_tables, error_table, mean_faces, shape_errors

if TYPE_CHECKING:
    from perceptionist.face_models.linear import LinearFaceModel

Array = NDArray[Any]
MEAN, OWN_SEX = "mean face", "mean of own sex"
PART = 32  # meshes that are measured together


@dataclass(frozen=True)
class Known:
    """What is true of people.

    Attributes:
        names: (I,). vertices: (I, N, 3), y up.
        sexes: (I,) "male" or "female"; empty text where not known.
        baselines: meshes (N, 3) to predict with: "all" and, where sexes are known, "male" and "female".
        coefficients: (I, K) semantic shape coefficients; None where not known.
        coefficient_names: (K,).
        ceiling: (K,) share of the variance within sex that the true voice tells; None where not known.
        sex_axis: (K,) direction in the coefficients along which men and women differ most for what people of
            one sex differ by; the middle between the sexes is 0, men are above; None where not known.
        notice: what must be said beside every figure.
    """

    names: tuple[str, ...]
    vertices: Array
    sexes: tuple[str, ...]
    baselines: Mapping[str, Array]
    coefficients: Array | None = None
    coefficient_names: tuple[str, ...] = ()
    ceiling: Array | None = None
    sex_axis: Array | None = None
    notice: str = ""


@dataclass(frozen=True)
class Explained:
    """Share of the variance of each shape coefficient, within sex, that the predictions explain.

    Attributes:
        names: (K,). ours: (K,), of the mean over a person's predictions. ceiling: (K,).
    """

    names: tuple[str, ...]
    ours: Array
    ceiling: Array


@dataclass(frozen=True)
class Evaluation:
    """Figures of predictions.

    Attributes:
        people, predictions: how many.
        errors: by name (`perceptionist.proportions.ERRORS`): ours and the baselines with intervals over
            people, and the paired differences.
        sex: share of predictions nearer the mean shape of the right sex; None where not known.
        sex_in_spreads: the same with distances in units of what people of one sex differ by (`sex_axis`).
            The plain distance misjudges many true shapes, as it counts what says nothing about the sex.
        true_sex: both shares of the true shapes, what the rules can reach.
        explained: None where the true coefficients or the predicted ones are not known.
        notice: what must be said beside every figure.
    """

    people: int
    predictions: int
    errors: dict[str, ErrorComparison]
    sex: float | None = None
    explained: Explained | None = None
    sex_in_spreads: float | None = None
    true_sex: tuple[float, float] | None = None
    notice: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Everything as JSON values."""
        errors = {}
        for name, found in self.errors.items():
            each: dict[str, Any] = {"ours": vars(found.ours)}
            each |= {word: vars(interval) for word, interval in found.baselines.items()}
            each["ours minus"] = {word: vars(difference) for word, difference in found.differences.items()}
            errors[name] = each
        record: dict[str, Any] = {"format": "perceptionist-results-1", "people": self.people}
        record |= {"predictions": self.predictions, "errors": errors}
        if self.sex is not None:
            record["sex"] = self.sex
        if self.sex_in_spreads is not None:
            record["sex_in_spreads"] = self.sex_in_spreads
        if self.true_sex is not None:
            record["sex_of_the_truth"] = dict(zip(("sex", "sex_in_spreads"), self.true_sex, strict=True))
        if self.explained is not None:
            e = self.explained
            record["explained_variance_within_sex"] = {
                "ours": dict(zip(e.names, _plain(e.ours))),
                "ceiling": dict(zip(e.names, _plain(e.ceiling))),
                "mean": float(np.nanmean(e.ours)),
                "mean_ceiling": float(np.nanmean(e.ceiling)),
            }
        return record | {"notice": self.notice} | self.facts

    def table(self) -> str:
        """The errors as text, one line each."""
        baselines = list(next(iter(self.errors.values())).baselines)
        head = f"{'error':<10}{'ours':>9}  {'95 % interval':<20}"
        lines = [head + "".join(f"{word:>18}{'p':>8}" for word in baselines)]
        for name, found in self.errors.items():
            line = f"{name:<10}{found.ours.value:9.4f}  ({found.ours.low:.4f} ... {found.ours.high:.4f}) "
            for word in baselines:
                line += f"{found.baselines[word].value:18.4f}{found.differences[word].p_value:8.3f}"
            lines.append(line)
        if self.sex is not None:
            lines.append(f"sex by the nearer mean shape: {100 * self.sex:.1f} % right")
        if self.sex_in_spreads is not None and self.true_sex is not None:
            truth, spreads = (100 * share for share in self.true_sex)
            lines[-1] += f" (true shapes {truth:.1f} %)"
            lines.append(
                f"sex, distances in spreads within the sexes: {100 * self.sex_in_spreads:.1f} % right "
                f"(true shapes {spreads:.1f} %)"
            )
        if self.explained is not None:
            e = self.explained
            lines.append(
                f"variance of {len(e.names)} shape coefficients explained within sex: "
                f"{np.nanmean(e.ours):.3f} of at most {np.nanmean(e.ceiling):.3f}"
            )
        lines.append(f"{self.predictions} predictions of {self.people} people")
        return "\n".join(lines)


def evaluate(
    meshes: Sequence[Array],
    people: Sequence[int],
    known: Known,
    model: "LinearFaceModel",
    shapes: Array | None = None,
    **rule: Any,
) -> Evaluation:
    """Errors of predictions beside the mean face and the mean of one's own sex.

    Args:
        meshes: L meshes (N, 3), y up, any size.
        people: (L,) row of `known` of each.
        known: the truth.
        model: whose pairs and landmarks measure.
        shapes: (L, S) un-whitened shape numbers of the predictions, of the embedded head.
        rule: `replicates`, `confidence`, `seed` of the intervals.

    Raises:
        ValueError: no predictions, or meshes of another number of vertices.
    """
    from perceptionist.meshio.mesh import MeshError

    who = np.asarray(people)
    if not len(meshes):
        raise ValueError("there are no predictions to judge")
    for mesh in [*meshes, *known.vertices]:
        if mesh.shape != (model.vertex_count, 3):
            raise MeshError(
                f"a mesh of {len(mesh)} vertices, the face model {model.name} has {model.vertex_count}; "
                "give the one it belongs to (--face-model)"
            )
    words = (MEAN, OWN_SEX) if all(known.sexes) else (MEAN,)
    baselines: dict[str, list[Array]] = {word: [] for word in words}
    ours = []
    for start in range(0, len(meshes), PART):
        rows = who[start : start + PART]
        true = known.vertices[rows]
        mine = np.stack(meshes[start : start + PART])
        ours.append(error_table(mine, true, model.pairs, model.landmarks))
        baselines[MEAN].append(error_table(known.baselines["all"], true, model.pairs, model.landmarks))
        if OWN_SEX in baselines:
            theirs = np.stack([known.baselines[known.sexes[row]] for row in rows])
            baselines[OWN_SEX].append(error_table(theirs, true, model.pairs, model.landmarks))
    tables = {word: np.concatenate(parts) for word, parts in baselines.items()}
    errors = compare_tables(np.concatenate(ours), tables, who, **rule)
    sex = None
    if all(known.sexes) and {*SEXES} <= {*model.references}:
        right = [_sex(mesh, model.references) == known.sexes[row] for mesh, row in zip(meshes, who)]
        sex = float(person_means(np.asarray(right, float), who).mean())
    in_spreads, of_truth = None, None
    if sex is not None and shapes is not None and known.sex_axis is not None:
        in_spreads, of_truth = _sex_in_spreads(shapes, who, known, model.references)
    return Evaluation(
        len(set(who.tolist())),
        len(meshes),
        errors,
        sex,
        _explained(shapes, who, known),
        in_spreads,
        of_truth,
        known.notice,
    )


def population_truth(root: str | Path, names: Sequence[str], training: Sequence[str] = ()) -> Known:
    """True heads of people of a written population, made anew from its settings; no mesh file is needed.

    Args:
        root: population folder.
        names: face names of the people to judge by.
        training: of those whose means are the baselines; empty: the means of all people, by formula.

    Raises:
        FileNotFoundError: no population.
        voiceface.synthetic.ground_truth.TruthError: somebody is not in it.
    """
    from voiceface.synthetic.face import head_bases
    from voiceface.synthetic.face.head import head_model, identity_coefficients
    from voiceface.synthetic.ground_truth import TruthError, read_truth
    from voiceface.synthetic.identities import draw_people
    from voiceface.synthetic.layout import Settings, name_of
    from voiceface.synthetic.oracle import coefficient_ceiling

    from perceptionist.face_models.synthetic_head import NOTICE, frontal_of, sex_axis

    truth = read_truth(root)
    settings = Settings(**truth.settings)
    numbers = {name_of(k, settings): k for k in settings.ids()}
    absent = [name for name in (*names, *training) if name not in numbers]
    if absent:
        raise TruthError(f"{len(absent)} people are not in the population {root}, the first is {absent[0]}")
    same = {word: getattr(settings, word) for word in ("seed", "rho", "share_sex", "confound")}
    head = head_model(settings.face_gain)

    def drawn(chosen: Sequence[str]) -> tuple[Array, tuple[str, ...], Array]:
        people = draw_people([numbers[name] for name in chosen], **same)
        alpha = identity_coefficients(people)
        return alpha, tuple("male" if sex else "female" for sex in people.face_sex), people.c

    alpha, sexes, coupling = drawn(names)
    if training:
        theirs, groups, _ = drawn(training)
        baselines = mean_faces(frontal_of(head, theirs), groups)
    else:
        shift = head_bases.sex_shift()
        means = {"all": 0 * shift, "male": shift, "female": -shift}
        baselines = {word: frontal_of(head, each) for word, each in means.items()}
    return Known(
        tuple(names),
        frontal_of(head, alpha),
        sexes,
        baselines,
        alpha,
        tuple(head_bases.SHAPE_NAMES),
        coefficient_ceiling(coupling),
        sex_axis(),
        NOTICE,
    )


def folder_truth(
    root: str | Path, names: Sequence[str], model: "LinearFaceModel", meta: str | Path | None = None
) -> Known:
    """Truth in the published layout: the first .xyz (else .obj) of `ROOT/NAME/`.

    Baselines are the face model's mean and, where `meta` tells the sexes, its mean man and woman.

    Args:
        root: folder such as `A2E_val`, or `mesh/` of a population.
        names: people.
        model: that the meshes belong to.
        meta: `vox1_meta.csv`; None: no sexes.

    Raises:
        FileNotFoundError: nobody's truth is there.
        MeshError: a mesh cannot be read.
    """
    import torch

    from perceptionist.meshio.io import read_mesh
    from perceptionist.meshio.xyz import read_xyz

    meshes, kept = [], []
    for name in names:
        paths = sorted((Path(root) / name).glob("*.xyz")) or sorted((Path(root) / name).glob("*.obj"))
        if paths:
            first = paths[0]
            meshes.append(read_xyz(first) if first.suffix == ".xyz" else read_mesh(first).vertices)
            kept.append(name)
    if not kept:
        raise FileNotFoundError(
            f"{root} holds no NAME/*.xyz or NAME/*.obj of the {len(names)} people asked for"
        )
    sizes = {len(mesh) for mesh in meshes}
    if sizes != {model.vertex_count}:
        raise ValueError(
            f"{root}: meshes of {sorted(sizes)} vertices, the face model {model.name} has "
            f"{model.vertex_count}; give the one they belong to (--face-model)"
        )
    genders = _genders(meta) if meta else {}
    sexes = tuple(genders.get(name, "") for name in kept)
    mean = model.vertices(torch.zeros(1, model.shape_count))[0].T.cpu().numpy()
    means: dict[str, Array] = {"all": mean} | {s: model.references[s] for s in SEXES if s in model.references}
    if not {*SEXES} <= {*means}:
        sexes = ("",) * len(kept)
    return Known(tuple(kept), np.stack(meshes), sexes, means, notice=model.notice)


def mesh_folder(root: str | Path) -> Iterator[tuple[str, Path]]:
    """(person, mesh file) of `ROOT/NAME/*.obj` (or .ply, .xyz), sorted.

    Raises:
        FileNotFoundError: no such folder, or there are none.
    """
    folder = Path(root)
    kinds = (".obj", ".ply", ".xyz")
    found = sorted(p for p in folder.glob("*/*") if p.suffix in kinds) if folder.is_dir() else []
    if not found:
        raise FileNotFoundError(f"{folder} holds no NAME/*.obj; make meshes with: perceptionist test")
    return ((path.parent.name, path) for path in found)


def _sex(mesh: Array, references: Mapping[str, Array]) -> str:
    """The sex whose mean shape lies nearer, as `perceptionist.proportions.describe` tells it."""
    errors = shape_errors(mesh, {sex: references[sex] for sex in SEXES})
    return "male" if errors["male"] < errors["female"] else "female"


def _sex_in_spreads(
    shapes: Array, who: Array, known: Known, references: Mapping[str, Array]
) -> tuple[float, tuple[float, float]]:
    """Shares right along `sex_axis`: of the predictions; of the true shapes by both rules."""
    from perceptionist.face_models.synthetic_head import semantic_shape

    assert known.sex_axis is not None and known.coefficients is not None
    male = np.asarray(known.sexes) == "male"
    right = (semantic_shape(shapes) @ known.sex_axis > 0) == male[who]
    rows = np.unique(who)
    plain = [_sex(known.vertices[row], references) == known.sexes[row] for row in rows]
    along = (known.coefficients[rows] @ known.sex_axis > 0) == male[rows]
    share = float(person_means(right.astype(float), who).mean())
    return share, (float(np.mean(plain)), float(along.mean()))


def _explained(shapes: Array | None, who: Array, known: Known) -> Explained | None:
    if shapes is None or known.coefficients is None or known.ceiling is None:
        return None
    from perceptionist.face_models.synthetic_head import semantic_shape

    rows = np.unique(who)
    if len(rows) < 4:
        return None
    predicted = person_means(semantic_shape(shapes), who)
    sexes = np.asarray(known.sexes)[rows]
    ours = explained_variance(predicted, known.coefficients[rows], sexes)
    return Explained(known.coefficient_names, ours, known.ceiling)


def _genders(meta: str | Path) -> dict[str, str]:
    """Name -> "male" or "female" of `vox1_meta.csv`."""
    import csv

    with Path(meta).open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t"))[1:]
    words = {"m": "male", "f": "female"}
    return {row[1]: words[row[2]] for row in rows if len(row) > 2 and row[2] in words}


def _plain(values: Array) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in values]
