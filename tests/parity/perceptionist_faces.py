"""Parity of perceptionist's face models, proportions, mesh and list files."""

import re
import tempfile
from pathlib import Path

import numpy as np
from parity.case import Array, Case, ComparisonLog
from perceptionist import proportions
from perceptionist.dataset.published_lists import (
    HELD_OUT_INITIALS,
    TRAINING_INITIALS,
    build_training_lists,
    read_identity_names,
)
from perceptionist.face_models.bfm import PUBLISHED_SCALE
from perceptionist.face_models.linear import LinearFaceModel
from perceptionist.face_models.pose import PUBLISHED_Y_FLIP, apply_pose
from perceptionist.meshio.obj import read_obj, write_obj
from perceptionist.meshio.xyz import read_xyz

MODEL_ARRAYS = ("w_shp", "w_exp", "u", "param_mean", "param_std", "tri")


def build_face_model(case: Case) -> LinearFaceModel:
    """Build the face model that a case stores, with arbitrary vertices as landmarks and pairs."""
    a = case.arrays
    numbers = np.arange(68) % (a["u"].size // 3)
    return LinearFaceModel(
        case.name,
        a["u"],
        a["w_shp"],
        a["w_exp"],
        a["tri"].T - 1,
        numbers,
        pairs=dict.fromkeys(("oicd", *proportions.MEASURES), (0, 1)),
        parameter_mean=a["param_mean"],
        parameter_std=a["param_std"],
        scale=PUBLISHED_SCALE,
        unit_mm=0.001,
    )


def load_sibling_face_model(case: Case) -> LinearFaceModel:
    """Load the face model that a case refers to by name, else the one stored in its folder."""
    named = case.path.with_name(f"{case.config.get('model', '')}.json")
    found = Case(named, case.inputs) if named.is_file() else case.find_sibling(*MODEL_ARRAYS)
    if found is None:
        raise FileNotFoundError(f"No case with a face model in the folder of {case.path}.")
    return build_face_model(found)


def synthetic_3dmm(case: Case, log: ComparisonLog) -> None:
    """Data for other cases: the model keeps every array unchanged."""
    model, a = build_face_model(case), case.arrays
    for ours, name in (
        (model.shape_basis, "w_shp"),
        (model.expression_basis, "w_exp"),
        (model.mean[:, None], "u"),
        (model.parameter_mean, "param_mean"),
        (model.parameter_std, "param_std"),
        (model.triangles.T + 1, "tri"),
    ):
        case.compare(log, name, ours)
    count = case.config.get("n_vertices")
    log.compare_equal("vertices", model.num_vertices, a["u"].size // 3 if count is None else count)


def reconstruct(case: Case, log: ComparisonLog) -> None:
    """Frontal meshes, pose, placed meshes of whitened parameters."""
    model = load_sibling_face_model(case)
    found = model.reconstruct(case.tensor("attr"))
    flip = re.search(r"(\d+(?:\.\d+)?)\s*-\s*y", str(case.meta.get("outputs", "")))
    ours = {
        "vertices": found.vertices,
        "pose": found.parameters.pose,
        "R": found.pose.rotation,
        "offset": found.pose.translation,
        "scale": found.pose.scale,
        "alpha_shp": found.parameters.shape[:, :, None],
        "alpha_exp": found.parameters.expression[:, :, None],
        "aligned": apply_pose(found.vertices, found.pose, y_flip=None),
        "image_space": apply_pose(
            found.vertices, found.pose, y_flip=float(flip[1]) if flip else PUBLISHED_Y_FLIP
        ),
    }
    for name in case.arrays:
        if name != "attr":
            case.compare(log, name, ours[name])


def metrics(case: Case, log: ComparisonLog) -> None:
    """Ratio and keypoint errors of meshes made by rule, and their means as printed."""
    count, pairs = int(case.config["n_vertices"]), case.config["pairs"]
    landmarks = case.arrays["keypoints"][::3] // 3
    text = str(case.meta.get("inputs", ""))
    spread = _parse_numbers(text, r"\*\s*\[([^\]]*)\]") or [60.0, 80.0, 50.0]
    several = re.search(r"predictions.*?(?=target B|$)", text, re.DOTALL)
    alone = re.search(r"prediction B0.*", text, re.DOTALL)
    assert several is not None and alone is not None, "the rule of the meshes is not understood"

    def target(letter: str) -> Array:
        seed = int(_parse_numbers(text, rf"target {letter}: k=(\d+)")[0])
        return _random_generator(case, seed).standard_normal((count, 3)) * spread

    def predictions(rule: str, base: Array) -> list[Array]:
        rows = zip(*(_parse_numbers(rule, rf"{word}\s*=?\s*([\d., ]+)") for word in ("k=", "scale", "noise")))
        return [
            scale * base + noise * _random_generator(case, int(k)).standard_normal((count, 3))
            for k, scale, noise in rows
        ]

    targets = {letter: target(letter) for letter in "AB"}
    meshes = {"A": predictions(several[0], targets["A"]), "B": predictions(alone[0], targets["B"])}
    people = np.repeat([0, 1], [len(meshes["A"]), len(meshes["B"])])
    predicted = np.stack([mesh for letter in "AB" for mesh in meshes[letter]])
    true = np.stack([targets["AB"[person]] for person in people])
    table = proportions.error_table(predicted, true, pairs, landmarks)
    means = proportions.identity_mean_errors(table, people)
    case.compare(log, "target_distances_f64", [proportions.distances(targets[c], pairs) for c in "AB"])
    case.compare(log, "are_f64", table[:, :4])
    case.compare(log, "keypoint_error_f64", table[:, proportions.ERRORS.index("keypoint")])
    case.compare(log, "aggregate_f64", [means[name] for name in (*proportions.MEASURES, "keypoint")])


def voice_report(case: Case, log: ComparisonLog) -> None:
    """Sex, face type and differences in per cent of meshes made by rule."""
    count, pairs = int(case.config["n_vertices"]), case.config["pairs"]
    text = str(case.meta.get("inputs", ""))
    base_rule, reference_rule, prediction_rule = re.split(r"Reference meshes|Predictions", text)
    spread = _parse_numbers(base_rule, r"\*\s*\[([^\]]*)\]")
    base = (
        _random_generator(case, int(_parse_numbers(base_rule, r"k=(\d+)")[0])).standard_normal((count, 3))
        * spread
    )

    def meshes(rule: str) -> list[Array]:
        seeds = _parse_seeds(rule)
        scales, noises = (_parse_numbers(rule, rf"{word} ([\d., ]+)") for word in ("scale", "noise"))
        noises = noises * len(seeds) if len(noises) == 1 else noises
        return [
            scale * base + noise * _random_generator(case, k).standard_normal((count, 3))
            for k, scale, noise in zip(seeds, scales, noises, strict=True)
        ]

    order = (*proportions.GENDERS, *case.config.get("type_order", proportions.FACE_TYPES))
    named = re.match(r"\s*([\w,\s]+):", reference_rule)
    names = [word.strip() for word in named[1].split(",")] if named else list(order)
    references = dict(zip(names, meshes(reference_rule), strict=True))
    told = [
        proportions.describe_face(mesh.astype(np.float32), references, pairs)
        for mesh in meshes(prediction_rule)
    ]
    case.compare(log, "errors_f64", [[one.errors[name] for name in order] for one in told])
    log.compare_equal(
        "gender", [proportions.GENDERS.index(one.gender) for one in told], case.arrays["gender"].tolist()
    )
    types = case.config.get("type_order", list(proportions.FACE_TYPES))
    log.compare_equal(
        "face_type", [types.index(one.face_type) for one in told], case.arrays["face_type"].tolist()
    )
    case.compare(log, "ratios_f64", [[one.differences[m] for m in proportions.MEASURES] for one in told])


def files(case: Case, log: ComparisonLog) -> None:
    """Mesh text written and read, and the lists of a made-up folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        vertices, triangles = case.arrays["vertices"].T, case.arrays["triangles"].T - 1
        write_obj(folder / "ours.obj", vertices, triangles, number_format="published")
        log.compare_equal("obj_text", (folder / "ours.obj").read_text("utf-8"), case.meta["obj_text"])
        (folder / "theirs.obj").write_text(case.meta["obj_text"], "utf-8")
        back = read_obj(folder / "theirs.obj")
        case.compare(log, "obj_back_f64", back.vertices)
        log.compare_equal("triangles read back", back.triangles.tolist(), triangles.tolist())
        (folder / "theirs.xyz").write_text(case.meta["xyz_text"], "utf-8")
        case.compare(log, "xyz_back_f64", read_xyz(folder / "theirs.xyz"))
        _compare_lists(case, log, folder)


def _compare_lists(case: Case, log: ComparisonLog, folder: Path) -> None:
    listing = case.meta["listing"]
    (folder / "vox1_meta.csv").write_text(listing["meta"], "utf-8")
    for item in (*listing["voice_files"], *listing["face_files"]):
        path = folder / item
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    roots = [listing[key][0].partition("/")[0] for key in ("voice_files", "face_files")]
    stated = re.search(r"starting ([A-Z])\s*\.\.\s*([A-Z])", str(case.meta.get("outputs", "")))
    whole = HELD_OUT_INITIALS + TRAINING_INITIALS
    letters = whole[whole.index(stated[1]) : whole.index(stated[2]) + 1] if stated else TRAINING_INITIALS
    names = read_identity_names(folder / "vox1_meta.csv")
    found = build_training_lists(*(folder / root for root in roots), names, letters)
    expected = listing["expected"]
    for word, root, items in zip(("voice", "face"), roots, (found.voices, found.faces)):
        ours = [[f"{root}/{item.path}", item.identity, item.label] for item in items]
        log.compare_equal(word, ours, expected[word])
    log.compare_equal("classes", len(found.identities), expected["classes"])


def _random_generator(case: Case, number: int) -> np.random.Generator:
    """The stated generator of random numbers."""
    return np.random.Generator(np.random.PCG64(int(case.config.get("mesh_seed_offset", 0)) + number))


def _parse_seeds(rule: str) -> list[int]:
    """Whole numbers `k=81..86` or `k=90,91,92`."""
    if span := re.search(r"k=(\d+)\.\.(\d+)", rule):
        return list(range(int(span[1]), int(span[2]) + 1))
    return [int(number) for number in _parse_numbers(rule, r"k=([\d, ]+)")]


def _parse_numbers(text: str, pattern: str) -> list[float]:
    """The numbers in the first group of a pattern."""
    found = re.search(pattern, text)
    return [float(word) for word in re.findall(r"\d+(?:\.\d+)?", found[1])] if found else []
