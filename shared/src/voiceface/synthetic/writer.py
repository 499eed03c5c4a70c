"""Write a synthetic population to disk: clips, images, tables, trial lists and ground truth.

The folder has the layout of VoxCeleb and VGGFace, so the ordinary loaders read it. Identities are written in
parallel; their files depend on the settings and the identity only, so the result does not depend on the
number of workers, on interruptions or on the number of identities. Files are written atomically: an
interrupted run resumes by writing the missing ones.
"""

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.io.foreign_files import read_json
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
    import numpy as np
    from numpy.typing import NDArray

    from voiceface.synthetic.identities import Identities
    from voiceface.synthetic.presets import Preset

__all__ = ["encode_jpeg", "write_mesh", "write_population"]


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
    """Write a population, or resume an interrupted run.

    Args:
        out: output folder; new, empty, or written with the same settings (the number of identities may grow).
        settings: settings, a preset or a preset's name.
        workers: processes; None uses every core. The result does not depend on it.
        lists: also generate trial lists.
        voices_from: another population with the same voices (same seed, clips, …; any rho), whose clips are
            linked.
        progress: show progress bars on standard error.
        force: write even if the population seems too large for the disk.
        changes: fields of `PopulationSettings` to change.

    Returns:
        `out` as a path.

    Raises:
        PopulationError: the folder has other content or other settings, or the disk is too small.
    """
    from voiceface.io.atomic import write_json
    from voiceface.runtime.process_pool import map_unordered
    from voiceface.synthetic import tables

    root = Path(out)
    if isinstance(settings, PopulationSettings):
        settings = replace(settings, **changes)
    else:
        settings = build_settings(settings, **changes)
    settings.require_current()
    state = _check_folder(root, settings)
    voices = _check_voice_source(voices_from, settings) if voices_from is not None else None
    if not force and state is None:
        _check_disk_space(root, settings, voices is not None)
    sizes = _split_sizes(asdict(settings))
    if state is None or not state.get("complete") or _split_sizes(state["settings"]) != sizes:
        write_json(root / POPULATION_FILE, {"complete": False, "settings": asdict(settings)})
        for partial in root.rglob(".*.part*"):
            partial.unlink(missing_ok=True)
    jobs = [(root, settings, k, voices) for k in settings.ids()]
    label = f"population {root.name}"
    for _ in map_unordered(_write_identity, jobs, workers, label, "identity", progress=progress):
        pass
    tables.write_tables(root, settings)
    if lists:
        tables.write_trial_lists(root, settings)
    tables.write_population_file(root, settings, POPULATION_FILE)
    return root


def _split_sizes(settings: dict[str, Any]) -> tuple[int, int, int]:
    return settings["train"], settings["val"], settings["test"]


def _check_folder(root: Path, settings: PopulationSettings) -> dict[str, Any] | None:
    """Return the state of an earlier run in this folder; None if it is new. Raises if it does not match."""
    if not root.exists() or (root.is_dir() and not any(map(_is_content, root.rglob("*")))):
        return None
    if not (root / POPULATION_FILE).is_file():
        raise PopulationError(
            f"{root} is not empty and has no {POPULATION_FILE.as_posix()}; use a new or an empty folder"
        )
    state = read_json(root / POPULATION_FILE, PopulationError, "settings of a population")
    try:
        found, expected = state["settings"], asdict(settings)
    except (ValueError, KeyError) as error:
        raise PopulationError(f"{root / POPULATION_FILE} is corrupt ({error}); use a new folder") from error
    replace(settings, generator=str(found.get("generator"))).require_current(root / POPULATION_FILE)
    sizes = ("train", "val", "test")
    wrong = [name for name in expected if name not in sizes and found.get(name) != expected[name]]
    wrong += [name for name in sizes if found.get(name, 0) > expected[name]]
    if wrong:
        text = "; ".join(f"{name} is {found.get(name)!r} there and {expected[name]!r} here" for name in wrong)
        raise PopulationError(
            f"{root} was written with other settings: {text}; use the same or another folder"
        )
    return state


def _is_content(path: Path) -> bool:
    """Return whether a path is a file other than the remainder of a killed write."""
    return not path.is_dir() and not (path.name.startswith(".") and ".part" in path.name)


def _check_voice_source(source: str | Path, settings: PopulationSettings) -> Path:
    """Return the folder of voices to link; raises if its voices differ from those of `settings`."""
    folder = Path(source)
    if not (folder / POPULATION_FILE).is_file():
        raise PopulationError(f"{folder} is no population: {POPULATION_FILE.as_posix()} is missing")
    state = read_json(folder / POPULATION_FILE, PopulationError, "settings of a population")
    found, expected = state.get("settings", {}), asdict(settings)
    for settings_of in (found, expected):  # images may be of another version
        settings_of["generator"] = str(settings_of.get("generator")).partition(",")[0]
    for name in ("seed", "clips", "clip_seconds", "confound", "generator", "quirks"):
        if found.get(name) != expected[name]:
            text = f"{name} is {found.get(name)!r} there, {expected[name]!r} here"
            raise PopulationError(f"{folder} has other voices: {text}")
    return folder.absolute()


def _check_disk_space(root: Path, settings: PopulationSettings, voices_linked: bool) -> None:
    """Raise if the disk is too small for the population."""
    voice = 0.0 if voices_linked else settings.clips * settings.clip_seconds * 32_000.0
    image = 1500.0 + 0.25 * settings.render_size**2
    need = len(settings.ids()) * (voice + settings.images * image + 800_000.0 * settings.mesh)
    parent = next(folder for folder in (root.absolute(), *root.absolute().parents) if folder.exists())
    free = shutil.disk_usage(parent).free
    if need > free:
        raise PopulationError(
            f"{root} needs about {need / 1e6:.0f} MB and the disk has {free / 1e6:.0f} MB free; "
            "use fewer identities, stream the population (voiceface.synthetic.dataset), or use --force"
        )


def _write_identity(job: tuple[Path, PopulationSettings, int, Path | None]) -> None:
    """Write the missing files of one identity."""
    root, settings, k, voices_from = job
    identities = settings.sample_identities([k])
    _write_clips(root, settings, k, identities, voices_from)
    _write_images(root, settings, k, identities)
    if settings.mesh:
        write_mesh(root, settings, k, identities)
    if settings.quirks:
        corrupted_files.add_corrupted_files(root, settings, k)


def _write_clips(
    root: Path,
    settings: PopulationSettings,
    identity: int,
    identities: "Identities",
    voices_from: Path | None,
) -> None:
    paths = {clip: clip_path(identity, clip, settings) for clip in range(settings.clips)}
    missing = {clip: path for clip, path in paths.items() if not (root / "wav" / path).exists()}
    if not missing:
        return
    from voiceface.audio.loading import write_wav
    from voiceface.synthetic.voice.speech_synthesis import synthesise_clip

    for clip, path in missing.items():
        source = voices_from / "wav" / path if voices_from else None
        if source is not None and source.exists():
            _link_or_copy(source, root / "wav" / path)
        else:
            samples = synthesise_clip(identities, 0, clip, seconds=settings.clip_seconds).samples
            write_wav(root / "wav" / path, samples)


def _write_images(root: Path, settings: PopulationSettings, identity: int, identities: "Identities") -> None:
    folder = root / "faces"
    paths = {index: folder / image_path(identity, index, settings) for index in range(settings.images)}
    missing = {index: path for index, path in paths.items() if not path.exists()}
    if settings.quirks and corrupted_files.has_no_images(identity):
        missing = {}
    if missing:
        from voiceface.io.atomic import write_bytes
        from voiceface.synthetic.head.render import prepare_face, render_image

        options: dict[str, Any] = {"image_size": settings.render_size, "nuisance": settings.nuisance}
        options["face_gain"] = settings.face_gain
        face = prepare_face(identities, 0, face_gain=settings.face_gain)
        for index, path in missing.items():
            rendered = render_image(identities, 0, index, face=face, **options)
            grey = settings.quirks and corrupted_files.is_grayscale(identity, index)
            write_bytes(path, encode_jpeg(rendered.image, rendered.jpeg_quality, grey=grey))
    if settings.second_view:
        for index, path in paths.items():
            other = root / "unzippedFaces" / video_frame_path(identity, index, settings)
            if path.exists() and not other.exists():
                _link_or_copy(path, other)


def encode_jpeg(image: "NDArray[np.uint8]", quality: int, *, grey: bool = False) -> bytes:
    """Encode an RGB image (H, W, 3) as JPEG of a quality of 1 to 100."""
    import cv2

    converted = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY if grey else cv2.COLOR_RGB2BGR)
    ok, data = cv2.imencode(".jpg", converted, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert ok, "JPEG encoder failed"
    return data.tobytes()


def write_mesh(root: Path, settings: PopulationSettings, identity: int, identities: "Identities") -> None:
    """Write the neutral head as .obj and .xyz in mm, and its 40 + 10 orthonormal coefficients as .npy.

    They lie in `mesh/NAME/` of the population; files that are there stay as they are.
    """
    import numpy as np

    from voiceface.io.atomic import write_text
    from voiceface.synthetic.head.linear_model import save_npy, write_obj
    from voiceface.synthetic.head.model import build_head_model
    from voiceface.synthetic.head.shape_space import shape_coefficients

    name = get_face_name(identity, settings)
    base = root / "mesh" / name
    if all((base / f"{name}{suffix}").exists() for suffix in (".obj", ".xyz", ".npy")):
        return
    model = build_head_model(settings.face_gain)
    alpha = shape_coefficients(identities)[0]
    vertices = model.compute_vertices(alpha)
    write_obj(base / f"{name}.obj", vertices, model.triangles)
    lines = ["{:.4f} {:.4f} {:.4f}\n".format(*row) for row in vertices.tolist()]
    write_text(base / f"{name}.xyz", "".join(lines))
    orthonormal = np.concatenate([model.orthonormal.shape_from_semantic @ alpha, np.zeros(10)])
    save_npy(base / f"{name}.npy", orthonormal.astype(np.float32))


def _link_or_copy(source: Path, target: Path) -> None:
    """Create a hard link where the file system supports it, else an atomic copy."""
    from voiceface.io.atomic import write_bytes

    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(source)
    except FileExistsError:
        return
    except OSError:
        write_bytes(target, source.read_bytes())
