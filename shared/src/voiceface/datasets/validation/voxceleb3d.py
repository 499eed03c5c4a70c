"""Validation of a data folder in the layout of Voxceleb-3D (docs/data.md): stored features, fitted meshes."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from voiceface.datasets.corpus import Corpus, IdentityRecord, abbreviate
from voiceface.datasets.identities import Identity, class_indices, read_vox1_meta
from voiceface.datasets.validation.checker import find_cache_directory
from voiceface.datasets.validation.file_probe import FileRecord, probe_face_file, probe_files
from voiceface.datasets.validation.report import (
    DatasetReport,
    PartSummary,
    count_files,
    count_identities,
    find_duplicates,
    warn_of_contents,
)
from voiceface.datasets.validation.voxceleb3d_parts import (
    HELD_OUT_INITIALS,
    PARTS,
    TRAINING_INITIALS,
    base_folder,
    find_part,
    group_by_identity,
)

__all__ = [
    "BFM_NUM_VERTICES",
    "LAST_TEST_ID",
    "MIN_PUBLISHED_FRAMES",
    "check_voxceleb3d",
]

LAST_TEST_ID = "id10309"  # ids beyond belong to training names
BFM_NUM_VERTICES = 53215
MIN_PUBLISHED_FRAMES = 800  # the published training refuses shorter ones; 1000 are usual

Records = Mapping[tuple[str, str], FileRecord]


def check_voxceleb3d(
    root: str | Path,
    *,
    decode: bool = False,
    cache_dir: str | Path | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> DatasetReport:
    """Check a data folder in the layout of Voxceleb-3D: what is there, missing, or of a wrong shape.

    Identities: names F to Z with features and images are for training, names A to E of `val_sub` with a point
    cloud in `AtoE_sub` for validation, and those of `A2E_val` with an id up to id10309 for the test.

    Args:
        root: folder with `fbank`, `VGG_ALL_FRONTAL`, `vox1_meta.csv` and so on.
        decode: read every value instead of headers.
        cache_dir: folder of the journal; None for ROOT/.voiceface or, if not writable, a temporary folder.
        workers: processes; None for all cores.
        progress: show a bar on standard error.

    Returns:
        The report, with `parts` filled in; `trainable` states whether training can start.
    """
    from voiceface.datasets.validation.array_probe import (
        probe_coefficient_file,
        probe_feature_file,
        probe_mesh_file,
        probe_point_cloud,
    )

    root = Path(root)
    report = DatasetReport(decoded=decode, layout="Voxceleb-3D")
    rows = _read_meta(root, report)
    found = {part: find_part(root, part) for part in PARTS}
    jobs = [(part.modality, item) for part, items in found.items() for item in items or ()]
    probes = {"features": probe_feature_file, "face": probe_face_file, "points": probe_point_cloud}
    probes |= {"coefficients": probe_coefficient_file, "mesh": probe_mesh_file}
    paths = [(what, str(base_folder(root, item) / item)) for what, item in jobs]
    cache = Path(cache_dir) if cache_dir is not None else find_cache_directory(root)
    probed = probe_files(
        paths, decode=decode, cache_dir=cache, workers=workers, progress=progress, probes=probes
    )
    records = {("voice" if what == "features" else what, item): r for (what, item), r in zip(jobs, probed)}
    errors = {item: record.error for (_, item), record in records.items() if record.error}
    for part, items in found.items():
        owners = {item.split("/")[1] for item in items or () if item.count("/") > 1}
        invalid = sum(item in errors for item in items or ())
        report.parts.append(
            PartSummary(part.name, part.needed_for, items is not None, len(owners), len(items or ()), invalid)
        )
    items_of = {part.name: items or [] for part, items in found.items()}
    corpus = _build_corpus(root, report, rows, items_of)
    lacking = report.without_voices, report.without_faces
    count_identities(report, corpus, records)
    report.without_voices, report.without_faces = lacking
    count_files(report, records)
    used = corpus.subset(i for i, r in enumerate(corpus.records) if r.identity.split != "val")
    find_duplicates(report, used, {key: r for key, r in records.items() if key[1] in used.item_to_identity})
    _assess(report, corpus, records, items_of, len(rows))
    return report


def _read_meta(root: Path, report: DatasetReport) -> list[Identity]:
    """Read the table of all identities; a missing or invalid one is an error of the report."""
    try:
        return read_vox1_meta(root / "vox1_meta.csv", include_unused=True)
    except FileNotFoundError:
        report.errors.append(
            "vox1_meta.csv is missing, which gives the names of the ids; copy that of VoxCeleb1 here"
        )
    except ValueError as error:
        report.errors.append(f"vox1_meta.csv is invalid: {error}".replace(f"{root}/", ""))
    return []


def _build_corpus(
    root: Path, report: DatasetReport, rows: list[Identity], items_of: Mapping[str, list[str]]
) -> Corpus:
    """Identities of the splits with their files; fills in the names that lack one side, and odd folders."""
    names = {row.voice_id: row.face_id for row in rows}
    row_of = {row.face_id: row for row in rows}
    voices = group_by_identity(items_of["fbank/<id>/<video>/*.npy"], names)
    faces = group_by_identity(items_of["VGG_ALL_FRONTAL/<Name>/*.jpg"], names)
    held_out = group_by_identity(items_of["val_sub/<Name>/*.npy"], {})
    clouds = group_by_identity(items_of["AtoE_sub/<Name>/*.xyz"], {})
    pictures = group_by_identity(items_of["A2E_val/<Name>/*.jpg"], {})
    training = {name for name in {*voices, *faces} if name[:1] in TRAINING_INITIALS}
    report.without_voices = sorted(training - voices.keys())
    report.without_faces = sorted(training - faces.keys())
    report.unreferenced_folders = sorted(
        f"{folder}/{name}"
        for folder, groups in (("fbank", voices), ("VGG_ALL_FRONTAL", faces), ("val_sub", held_out))
        for name in groups
        if name[:1] not in TRAINING_INITIALS + HELD_OUT_INITIALS
    )
    tested = {
        name
        for part in ("xyz", "obj", "npy", "jpg")
        for name in group_by_identity(items_of[f"A2E_val/<Name>/*.{part}"], {})
        if name in row_of and row_of[name].voice_id <= LAST_TEST_ID
    }
    sides: dict[str, list[tuple[str, list[str], list[str]]]] = {
        "train": [
            (name, voices[name], faces[name]) for name in sorted(voices.keys() & faces.keys() & training)
        ],
        "val": [
            (name, held_out[name], [])
            for name in sorted(held_out.keys() & clouds.keys())
            if name[:1] in HELD_OUT_INITIALS
        ],
        "test": [(name, voices[name], pictures.get(name, [])) for name in sorted(tested & voices.keys())],
    }
    identities, files = [], []
    for split, members in sides.items():
        for name, own_voices, own_faces in members:
            row = row_of.get(name)
            gender, voice_id = (row.gender, row.voice_id) if row else ("", name)
            identities.append(Identity(name, f"{split}/{voice_id}", f"{split}/{name}", gender, "", split))
            files.append((tuple(own_voices), tuple(own_faces)))
    labels = class_indices(identities)
    rows_of_corpus = zip(identities, labels, files, strict=True)
    return Corpus(tuple(IdentityRecord(i, label, *own) for i, label, own in rows_of_corpus), root, root)


def _assess(
    report: DatasetReport,
    corpus: Corpus,
    records: Records,
    items_of: Mapping[str, list[str]],
    num_rows: int,
) -> None:
    """Fill in errors and warnings."""
    add_error, add_warning = report.errors.append, report.warnings.append
    present = {part.name.partition("/")[0] for part in report.parts if part.present}
    for folder, content in (
        ("fbank", "stored features; `perceptionist` computes them from recordings, see docs/reproducing.md"),
        ("VGG_ALL_FRONTAL", "face images"),
    ):
        if folder not in present:
            add_error(f"{folder} is missing ({content})")
    num_training = report.splits["train"].identities if "train" in report.splits else 0
    if num_training < 2:
        add_error(
            "training needs at least 2 identities named F to Z with features and images, found "
            f"{num_training}"
        )
    needed = {i for r in corpus.records if r.identity.split != "test" for i in (*r.voices, *r.faces)}
    needed |= {item for item in items_of["AtoE_sub/<Name>/*.xyz"]}
    bad = [item for item in report.unreadable if item in needed]
    if bad:
        add_error(
            f"{len(bad)} files of training or validation cannot be used: {abbreviate(bad, 3)} "
            "(create them again, or remove them)"
        )
    if len(report.unreadable) > len(bad):
        add_warning(f"{len(report.unreadable) - len(bad)} files that training does not use cannot be used")
    _check_validation_set(report, records, items_of, present)
    _check_test_set(report, records, items_of, present)
    if num_rows and report.unreferenced_folders:
        add_warning(
            f"{len(report.unreferenced_folders)} folders are neither in vox1_meta.csv nor names that begin "
            f"with A to Z, and are not used: {abbreviate(report.unreferenced_folders, 3)}"
        )
    for names, lacks in ((report.without_voices, "features"), (report.without_faces, "images")):
        if names:
            add_warning(
                f"{len(names)} identities named F to Z have no {lacks} and are not used: "
                f"{abbreviate(names, 3)}"
            )
    short = [
        item
        for (what, item), record in records.items()
        if what == "voice" and 0 < record.num_rows < MIN_PUBLISHED_FRAMES
    ]
    if short:
        add_warning(
            f"{len(short)} feature files have fewer than {MIN_PUBLISHED_FRAMES} frames: "
            f"{abbreviate(short, 3)} (repeated here; the published training stops at them)"
        )
    warn_of_contents(report)


def _check_validation_set(
    report: DatasetReport, records: Records, items_of: Mapping[str, list[str]], present: set[str]
) -> None:
    """Check that `val_sub` and `AtoE_sub` belong together and that the point clouds have one size."""
    absent = [folder for folder in ("val_sub", "AtoE_sub") if folder not in present]
    if absent:
        report.warnings.append(
            f"{' and '.join(absent)} {'are' if len(absent) > 1 else 'is'} missing: no validation while "
            "training; add the folder, or train with training.validation_interval=null"
        )
        return
    voices = group_by_identity(items_of["val_sub/<Name>/*.npy"], {}).keys()
    clouds = group_by_identity(items_of["AtoE_sub/<Name>/*.xyz"], {}).keys()
    if "val" not in report.splits:
        report.errors.append(
            f"no identity named A to E is in both val_sub ({len(voices)}) and AtoE_sub ({len(clouds)}); "
            "complete them, or train with training.validation_interval=null"
        )
    elif alone := sorted(voices ^ clouds):
        report.warnings.append(
            f"{len(alone)} identities are in only one of val_sub and AtoE_sub and are not used: "
            f"{abbreviate(alone, 3)}"
        )
    sizes = Counter(records["points", i].num_rows for i in items_of["AtoE_sub/<Name>/*.xyz"])
    sizes.pop(0, None)
    if len(sizes) > 1:
        report.errors.append(
            f"point clouds of AtoE_sub have {_format_sizes(sizes)} points, expected one number, that of the "
            "face model; write them again"
        )
    elif sizes and BFM_NUM_VERTICES not in sizes:
        report.warnings.append(
            f"point clouds of AtoE_sub have {_format_sizes(sizes)} points, expected {BFM_NUM_VERTICES} "
            "(BFM-2009); pass the face model of the meshes as --face-model"
        )


def _check_test_set(
    report: DatasetReport, records: Records, items_of: Mapping[str, list[str]], present: set[str]
) -> None:
    """Check that the folders of `A2E_val` are complete and that their meshes have one size."""
    if "A2E_val" not in present:
        report.warnings.append("A2E_val is missing: no test and no evaluation; add the folder")
        return
    kinds = {
        name: group_by_identity(items_of[f"A2E_val/<Name>/*{name}"], {})
        for name in (".xyz", ".obj", ".npy", ".jpg", "_b.jpg")
    }
    every = {identity for groups in kinds.values() for identity in groups}
    remedies = {
        ".xyz": "perceptionist evaluate reads the .obj",
        ".npy": "fitted coefficients",
        "_b.jpg": "written by perceptionist overlay",
    }
    for kind, groups in kinds.items():
        if lacking := sorted(every - groups.keys()):
            remedy = f" ({remedies[kind]})" if kind in remedies else ""
            report.warnings.append(
                f"{len(lacking)} identities of A2E_val have no *{kind}: {abbreviate(lacking, 3)}{remedy}"
            )
    sizes = Counter(
        records[what, item].num_rows
        for what, kind in (("points", "xyz"), ("mesh", "obj"))
        for item in items_of[f"A2E_val/<Name>/*.{kind}"]
    )
    sizes.pop(0, None)
    if len(sizes) > 1 or (sizes and BFM_NUM_VERTICES not in sizes):
        report.warnings.append(
            f"meshes of A2E_val have {_format_sizes(sizes)} vertices, expected {BFM_NUM_VERTICES} "
            "(BFM-2009); pass their face model as --face-model to evaluate"
        )
    unlisted = report.splits["test"].identities if "test" in report.splits else 0
    if unlisted < len(every):
        report.warnings.append(
            f"{len(every) - unlisted} identities of A2E_val are not tested: no features in fbank, or no "
            f"row in vox1_meta.csv with an id up to {LAST_TEST_ID}"
        )


def _format_sizes(sizes: Counter[int]) -> str:
    """The sizes that occur, most frequent first."""
    return ", ".join(str(size) for size, _ in sizes.most_common(4))
