"""Write a synthetic population as files: clips, pictures, tables, lists, and the truth behind them.

The tree is laid out like VoxCeleb and VGGFace, so that the ordinary loaders read it. The unit of work is one
identity; its files depend on the settings and the identity alone, so the result is the same for any number of
workers, after any interruption and for any number of people. A file is either whole or absent, hence an
interrupted run goes on by making what is missing.
"""

import argparse
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.population import quirks
from voiceface.population.layout import (
    MARKER,
    PopulationError,
    Settings,
    clip_path,
    name_of,
    picture_path,
    second_picture_path,
    settings_of,
)

if TYPE_CHECKING:
    from voiceface.population.presets import Preset


def write_population(
    out: str | Path,
    settings: "Settings | Preset | str" = "quick",
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
        out: folder of the tree; new, empty, or written before with the same settings (more people may be
            asked for than the first time).
        settings: settings, a preset or a preset's name.
        workers: processes; None takes every core. The result does not depend on it.
        lists: also draw the evaluation lists.
        voices_from: another population with the same voices (same seed, clips, …; any rho), whose clips are
            linked instead of made again.
        progress: show bars on standard error.
        force: write even what is meant to be streamed or seems too large for the disk.
        changes: fields of `Settings` to change.

    Returns:
        `out` as a path.

    Raises:
        PopulationError: the folder holds something else or other settings, or the disk is too small.
    """
    from voiceface.files import write_json
    from voiceface.parallel import map_unordered
    from voiceface.population import tables

    root = Path(out)
    chosen = settings if isinstance(settings, Settings) else settings_of(settings, **changes)
    if isinstance(settings, Settings) and changes:
        chosen = replace(chosen, **changes)
    state = _check_folder(root, chosen)
    shared = _check_voices(voices_from, chosen) if voices_from is not None else None
    jobs = [(str(root), chosen, k, str(shared) if shared else None) for k in chosen.ids()]
    if not force and state is None:
        _check_space(root, chosen, bool(shared))
    if state is None or not state.get("complete") or _counts(state["settings"]) != _counts(asdict(chosen)):
        write_json(root / MARKER, {"complete": False, "settings": asdict(chosen)})
        for leftover in root.rglob(".*.part*"):
            leftover.unlink(missing_ok=True)
    for _ in map_unordered(
        _write_identity, jobs, workers, f"population {root.name}", "identity", progress=progress
    ):
        pass
    tables.write_all(root, chosen)
    if lists:
        tables.write_lists(root, chosen)
    tables.write_summary(root, chosen, MARKER)
    return root


def _counts(settings: dict[str, Any]) -> tuple[int, int, int]:
    return settings["train"], settings["val"], settings["test"]


def _check_folder(root: Path, settings: Settings) -> dict[str, Any] | None:
    """State of an earlier run into this folder, None when it is new; refuses anything that does not fit."""
    if not root.exists() or (root.is_dir() and not any(map(_is_content, root.rglob("*")))):
        return None
    if not (root / MARKER).is_file():
        raise PopulationError(
            f"{root} is not empty and holds no {MARKER.as_posix()}; choose a new folder or empty this one"
        )
    try:
        state: dict[str, Any] = json.loads((root / MARKER).read_text())
        found, asked = state["settings"], asdict(settings)
    except (ValueError, KeyError) as error:
        raise PopulationError(
            f"{root / MARKER} cannot be read ({error}); start again in a new folder"
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


def _check_voices(source: str | Path, settings: Settings) -> Path:
    """The folder of voices to link, if they are the ones that would be made."""
    base = Path(source)
    if not (base / MARKER).is_file():
        raise PopulationError(f"{base} holds no {MARKER.as_posix()}: not a population to take voices from")
    found, asked = json.loads((base / MARKER).read_text())["settings"], asdict(settings)
    for name in ("seed", "clips", "clip_seconds", "confound", "generator", "quirks"):
        if found[name] != asked[name]:
            raise PopulationError(
                f"{base} has other voices: {name} is {found[name]!r} there, {asked[name]!r} here"
            )
    return base.absolute()


def _check_space(root: Path, settings: Settings, linked: bool) -> None:
    """Refuse early when the disk cannot hold the tree."""
    voice = 0.0 if linked else settings.clips * settings.clip_seconds * 32_000.0
    picture = 1500.0 + 0.25 * settings.picture_side**2
    need = len(settings.ids()) * (voice + settings.pictures * picture + 800_000.0 * settings.mesh)
    parent = next(folder for folder in (root.absolute(), *root.absolute().parents) if folder.exists())
    free = shutil.disk_usage(parent).free
    if need > free:
        raise PopulationError(
            f"{root} would take about {need / 1e6:.0f} MB and the disk has {free / 1e6:.0f} MB free; "
            "ask for fewer people, stream it (voiceface.population.stream), or use --force"
        )


def _write_identity(job: tuple[str, Settings, int, str | None]) -> int:
    """Make what is missing of one identity; returns how many files were made."""
    from voiceface.population.people import draw_people

    folder, settings, k, voices_from = job
    root = Path(folder)
    people = draw_people(
        [k], seed=settings.seed, rho=settings.rho, share_sex=settings.share_sex, confound=settings.confound
    )
    made = _write_clips(root, settings, k, people, voices_from)
    made += _write_pictures(root, settings, k, people)
    if settings.mesh:
        made += _write_mesh(root, settings, k, people)
    if settings.quirks:
        quirks.add_quirks(root, settings, k)
    return made


def _write_clips(root: Path, settings: Settings, k: int, people: Any, voices_from: str | None) -> int:
    todo = [(clip, root / "wav" / clip_path(k, clip, settings)) for clip in range(settings.clips)]
    todo = [(clip, path) for clip, path in todo if not path.exists()]
    if not todo:
        return 0
    from voiceface.audio import write_wav
    from voiceface.population.voice import synthesise_clip

    for clip, path in todo:
        source = Path(voices_from) / "wav" / clip_path(k, clip, settings) if voices_from else None
        if source is not None and source.exists():
            link_or_copy(source, path)
        else:
            write_wav(path, synthesise_clip(people, 0, clip, seconds=settings.clip_seconds).samples)
    return len(todo)


def _write_pictures(root: Path, settings: Settings, k: int, people: Any) -> int:
    wanted = [
        (picture, root / "faces" / picture_path(k, picture, settings)) for picture in range(settings.pictures)
    ]
    todo = [(picture, path) for picture, path in wanted if not path.exists()]
    if settings.quirks and quirks.is_faceless(k):
        todo = []
    if todo:
        import cv2

        from voiceface.files import write_bytes
        from voiceface.population.render import prepare_face, render_picture

        face = prepare_face(people, 0, face_gain=settings.face_gain)
        how: dict[str, Any] = {"side": settings.picture_side, "nuisance": settings.nuisance}
        for picture, path in todo:
            drawn = render_picture(people, 0, picture, face=face, face_gain=settings.face_gain, **how)
            grey = settings.quirks and quirks.is_grey(k, picture)
            image = cv2.cvtColor(drawn.image, cv2.COLOR_RGB2GRAY if grey else cv2.COLOR_RGB2BGR)
            ok, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, drawn.quality])
            assert ok, "JPEG encoder failed"
            write_bytes(path, data.tobytes())
    if settings.second_view:
        for picture, path in wanted:
            other = root / "unzippedFaces" / second_picture_path(k, picture, settings)
            if path.exists() and not other.exists():
                link_or_copy(path, other)
    return len(todo)


def _write_mesh(root: Path, settings: Settings, k: int, people: Any) -> int:
    """Neutral head as .obj and .xyz in mm, and its 40 + 10 coefficients in the orthonormal arrangement."""
    import numpy as np

    from voiceface.files import write_text
    from voiceface.population.head import head_model, identity_coefficients, save_array, write_obj

    name = name_of(k, settings)
    base = root / "mesh" / name
    if all((base / f"{name}{end}").exists() for end in (".obj", ".xyz", ".npy")):
        return 0
    model = head_model(settings.face_gain)
    alpha = identity_coefficients(people)[0]
    vertices = model.vertices(alpha)
    write_obj(base / f"{name}.obj", vertices, model.triangles)
    write_text(
        base / f"{name}.xyz", "".join("{:.4f} {:.4f} {:.4f}\n".format(*row) for row in vertices.tolist())
    )
    orthonormal = np.concatenate([model.orthonormal.shape_from_semantic @ alpha, np.zeros(10)])
    save_array(base / f"{name}.npy", orthonormal.astype(np.float32))
    return 3


def link_or_copy(source: Path, target: Path) -> None:
    """A hard link where the disk allows it, else a copy; whole or absent."""
    from voiceface.files import write_bytes

    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(source)
    except FileExistsError:
        return
    except OSError:
        write_bytes(target, source.read_bytes())


def build_parser() -> argparse.ArgumentParser:
    """The command line of `voiceface population`."""
    parser = argparse.ArgumentParser(
        prog="voiceface population",
        description="Invent a population with voices and faces and write it as files. Running the same "
        "command again finishes an interrupted run. Everything in it is synthetic: no real person is in it.",
    )
    parser.add_argument("out", metavar="OUT", type=Path, help="folder of the tree")
    parser.add_argument(
        "--preset",
        default="quick",
        help="tiny, quick, standard, study, large or quirks: sizes, coupling and nuisance (default: quick)",
    )
    parser.add_argument("--people", type=int, metavar="N", help="identities in all, instead of the preset's")
    parser.add_argument("--seed", type=int, default=0, help="population seed (default: 0)")
    parser.add_argument(
        "--rho", type=float, help="coupling of voice and face, 0 (none) to 1, instead of the preset's"
    )
    parser.add_argument(
        "--nuisance", type=float, help="factor on what differs between pictures of one identity"
    )
    parser.add_argument("--clips", type=int, help="clips per identity")
    parser.add_argument("--clip-seconds", type=float, help="length of a clip in seconds")
    parser.add_argument("--pictures", type=int, help="pictures per identity")
    parser.add_argument(
        "--side", type=int, dest="picture_side", help="width and height of the pictures in pixels"
    )
    parser.add_argument(
        "--face-gain", type=float, help="factor on the shape of faces; 0.55 is about life-size"
    )
    parser.add_argument("--confound", type=float, help="what nationality does to voice and skin, 0 to 1")
    parser.add_argument(
        "--separate-sex",
        action="store_false",
        dest="share_sex",
        help="draw the face's sex apart from the voice's",
    )
    parser.add_argument(
        "--second-view", action="store_true", help="also unzippedFaces/, the same pictures by video"
    )
    parser.add_argument("--mesh", action="store_true", help="also the true heads (mesh/) and the face model")
    parser.add_argument(
        "--voices-from", type=Path, metavar="DIR", help="link the clips of another population"
    )
    parser.add_argument("--no-lists", action="store_false", dest="lists", help="draw no evaluation lists")
    parser.add_argument("--workers", type=int, help="processes (default: every core)")
    parser.add_argument("--force", action="store_true", help="write even what is meant to be streamed")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `voiceface population`."""
    asked = vars(build_parser().parse_args(argv))
    out, preset = asked.pop("out"), asked.pop("preset")
    how = {name: asked.pop(name) for name in ("workers", "lists", "voices_from", "force")}
    from voiceface.population.presets import preset_of

    chosen = preset_of(preset)
    if not chosen.on_disk and asked["people"] is None and not how["force"]:
        raise PopulationError(
            f"{preset} is made to be streamed (voiceface.population.stream); "
            "give --people or --force to write it"
        )
    rhos = chosen.rhos if asked["rho"] is None else (asked["rho"],)
    first = None
    for rho in rhos:
        settings = settings_of(chosen, **{**asked, "rho": rho})
        place = out if len(rhos) == 1 else out / f"rho_{rho:g}"
        write_population(place, settings, **{**how, "voices_from": how["voices_from"] or first})
        first = first or place
        people = len(settings.ids())
        clips, pictures = people * settings.clips, people * settings.pictures
        print(f"{place}: {people} people, {clips} clips, {pictures} pictures; synthetic, no real person")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
