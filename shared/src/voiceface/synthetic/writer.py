"""Write a synthetic population as files: clips, images, tables, lists, and the truth behind them.

The tree is laid out like VoxCeleb and VGGFace, so that the ordinary loaders read it. The unit of work is one
identity; its files depend on the settings and the identity alone, so the result is the same for any number of
workers, after any interruption and for any number of identities. A file is either whole or absent, hence an
interrupted run resumes by making what is missing.
"""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.synthetic import corrupted_files
from voiceface.synthetic.layout import (
    POPULATION_FILE,
    PopulationError,
    PopulationSettings,
    build_settings,
    clip_path,
    get_face_name,
    image_path,
    video_frame_path,
)

if TYPE_CHECKING:
    from voiceface.synthetic.presets import Preset


def write_population(
    out: str | Path,
    settings: "PopulationSettings | Preset | str" = "quick",
    *,
    workers: int | None = None,
    lists: bool = True,
    voices_from: str | Path | None = None,
    progress: bool = True,
    force: bool = False,
    **changes: Any,
) -> Path:
    """Write a population, or finish one that was interrupted.

    Args:
        out: folder of the tree; new, empty, or written before with the same settings (more identities may be
            asked for than the first time).
        settings: settings, a preset or a preset's name.
        workers: processes; None takes every core. The result does not depend on it.
        lists: also draw the evaluation lists.
        voices_from: another population with the same voices (same seed, clips, …; any rho), whose clips are
            linked instead of made again.
        progress: show bars on standard error.
        force: write even what is meant to be streamed or seems too large for the disk.
        changes: fields of `PopulationSettings` to change.

    Returns:
        `out` as a path.

    Raises:
        PopulationError: the folder holds something else or other settings, or the disk is too small.
    """
    from voiceface.io.atomic import write_json
    from voiceface.runtime.process_pool import map_unordered
    from voiceface.synthetic import tables

    root = Path(out)
    chosen = settings if isinstance(settings, PopulationSettings) else build_settings(settings, **changes)
    if isinstance(settings, PopulationSettings) and changes:
        chosen = replace(chosen, **changes)
    state = _check_folder(root, chosen)
    shared = _check_voice_source(voices_from, chosen) if voices_from is not None else None
    jobs = [(str(root), chosen, k, str(shared) if shared else None) for k in chosen.ids()]
    if not force and state is None:
        _check_disk_space(root, chosen, bool(shared))
    if (
        state is None
        or not state.get("complete")
        or _split_sizes(state["settings"]) != _split_sizes(asdict(chosen))
    ):
        write_json(root / POPULATION_FILE, {"complete": False, "settings": asdict(chosen)})
        for leftover in root.rglob(".*.part*"):
            leftover.unlink(missing_ok=True)
    for _ in map_unordered(
        _write_identity, jobs, workers, f"population {root.name}", "identity", progress=progress
    ):
        pass
    tables.write_tables(root, chosen)
    if lists:
        tables.write_trial_lists(root, chosen)
    tables.write_population_file(root, chosen, POPULATION_FILE)
    return root


def _split_sizes(settings: dict[str, Any]) -> tuple[int, int, int]:
    return settings["train"], settings["val"], settings["test"]


def _check_folder(root: Path, settings: PopulationSettings) -> dict[str, Any] | None:
    """State of an earlier run into this folder, None when it is new; refuses anything that does not fit."""
    if not root.exists() or (root.is_dir() and not any(map(_is_content, root.rglob("*")))):
        return None
    if not (root / POPULATION_FILE).is_file():
        raise PopulationError(
            f"{root} is not empty and holds no {POPULATION_FILE.as_posix()}; choose a new folder or empty "
            "this one"
        )
    try:
        state: dict[str, Any] = json.loads((root / POPULATION_FILE).read_text())
        found, asked = state["settings"], asdict(settings)
    except (ValueError, KeyError) as error:
        raise PopulationError(
            f"{root / POPULATION_FILE} cannot be read ({error}); start again in a new folder"
        ) from error
    differ = [
        name for name in asked if name not in ("train", "val", "test") and found.get(name) != asked[name]
    ]
    shrunk = [name for name in ("train", "val", "test") if found.get(name, 0) > asked[name]]
    if differ or shrunk:
        what = "; ".join(
            f"{name} is {found.get(name)!r} there and {asked[name]!r} here" for name in differ + shrunk
        )
        raise PopulationError(f"{root} was begun with other settings: {what}; use the same or another folder")
    return state


def _is_content(path: Path) -> bool:
    """Whether a path is more than a folder or the leftover of a write that was killed."""
    return not path.is_dir() and not (path.name.startswith(".") and ".part" in path.name)


def _check_voice_source(source: str | Path, settings: PopulationSettings) -> Path:
    """The folder of voices to link, if they are the ones that would be made."""
    base = Path(source)
    if not (base / POPULATION_FILE).is_file():
        raise PopulationError(
            f"{base} holds no {POPULATION_FILE.as_posix()}: not a population to take voices from"
        )
    found, asked = json.loads((base / POPULATION_FILE).read_text())["settings"], asdict(settings)
    for name in ("seed", "clips", "clip_seconds", "confound", "generator", "quirks"):
        if found[name] != asked[name]:
            raise PopulationError(
                f"{base} has other voices: {name} is {found[name]!r} there, {asked[name]!r} here"
            )
    return base.absolute()


def _check_disk_space(root: Path, settings: PopulationSettings, voices_linked: bool) -> None:
    """Refuse early when the disk cannot hold the tree."""
    voice = 0.0 if voices_linked else settings.clips * settings.clip_seconds * 32_000.0
    picture = 1500.0 + 0.25 * settings.render_size**2
    need = len(settings.ids()) * (voice + settings.images * picture + 800_000.0 * settings.mesh)
    parent = next(folder for folder in (root.absolute(), *root.absolute().parents) if folder.exists())
    free = shutil.disk_usage(parent).free
    if need > free:
        raise PopulationError(
            f"{root} would take about {need / 1e6:.0f} MB and the disk has {free / 1e6:.0f} MB free; "
            "ask for fewer identities, stream it (voiceface.synthetic.dataset), or use --force"
        )


def _write_identity(job: tuple[str, PopulationSettings, int, str | None]) -> int:
    """Make what is missing of one identity; returns how many files were made."""
    from voiceface.synthetic.identities import sample_identities

    folder, settings, k, voices_from = job
    root = Path(folder)
    people = sample_identities(
        [k], seed=settings.seed, rho=settings.rho, share_sex=settings.share_sex, confound=settings.confound
    )
    made = _write_clips(root, settings, k, people, voices_from)
    made += _write_images(root, settings, k, people)
    if settings.mesh:
        made += _write_mesh(root, settings, k, people)
    if settings.quirks:
        corrupted_files.add_corrupted_files(root, settings, k)
    return made


def _write_clips(
    root: Path, settings: PopulationSettings, identity: int, identities: Any, voices_from: str | None
) -> int:
    todo = [(clip, root / "wav" / clip_path(identity, clip, settings)) for clip in range(settings.clips)]
    todo = [(clip, path) for clip, path in todo if not path.exists()]
    if not todo:
        return 0
    from voiceface.audio.loading import write_wav
    from voiceface.synthetic.voice.speech_synthesis import synthesise_clip

    for clip, path in todo:
        source = Path(voices_from) / "wav" / clip_path(identity, clip, settings) if voices_from else None
        if source is not None and source.exists():
            link_or_copy(source, path)
        else:
            write_wav(path, synthesise_clip(identities, 0, clip, seconds=settings.clip_seconds).samples)
    return len(todo)


def _write_images(root: Path, settings: PopulationSettings, identity: int, identities: Any) -> int:
    wanted = [
        (picture, root / "faces" / image_path(identity, picture, settings))
        for picture in range(settings.images)
    ]
    todo = [(picture, path) for picture, path in wanted if not path.exists()]
    if settings.quirks and corrupted_files.has_no_images(identity):
        todo = []
    if todo:
        import cv2

        from voiceface.io.atomic import write_bytes
        from voiceface.synthetic.face.render import prepare_face, render_image

        face = prepare_face(identities, 0, face_gain=settings.face_gain)
        how: dict[str, Any] = {"image_size": settings.render_size, "nuisance": settings.nuisance}
        for picture, path in todo:
            drawn = render_image(identities, 0, picture, face=face, face_gain=settings.face_gain, **how)
            grey = settings.quirks and corrupted_files.is_grayscale(identity, picture)
            image = cv2.cvtColor(drawn.image, cv2.COLOR_RGB2GRAY if grey else cv2.COLOR_RGB2BGR)
            ok, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, drawn.jpeg_quality])
            assert ok, "JPEG encoder failed"
            write_bytes(path, data.tobytes())
    if settings.second_view:
        for picture, path in wanted:
            other = root / "unzippedFaces" / video_frame_path(identity, picture, settings)
            if path.exists() and not other.exists():
                link_or_copy(path, other)
    return len(todo)


def _write_mesh(root: Path, settings: PopulationSettings, identity: int, identities: Any) -> int:
    """Neutral head as .obj and .xyz in mm, and its 40 + 10 coefficients in the orthonormal arrangement."""
    import numpy as np

    from voiceface.io.atomic import write_text
    from voiceface.synthetic.face.head import build_head_model, save_npy, shape_coefficients, write_obj

    name = get_face_name(identity, settings)
    base = root / "mesh" / name
    if all((base / f"{name}{end}").exists() for end in (".obj", ".xyz", ".npy")):
        return 0
    model = build_head_model(settings.face_gain)
    alpha = shape_coefficients(identities)[0]
    vertices = model.compute_vertices(alpha)
    write_obj(base / f"{name}.obj", vertices, model.triangles)
    write_text(
        base / f"{name}.xyz", "".join("{:.4f} {:.4f} {:.4f}\n".format(*row) for row in vertices.tolist())
    )
    orthonormal = np.concatenate([model.orthonormal.shape_from_semantic @ alpha, np.zeros(10)])
    save_npy(base / f"{name}.npy", orthonormal.astype(np.float32))
    return 3


def link_or_copy(source: Path, target: Path) -> None:
    """A hard link where the disk allows it, else a copy; whole or absent."""
    from voiceface.io.atomic import write_bytes

    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(source)
    except FileExistsError:
        return
    except OSError:
        write_bytes(target, source.read_bytes())
