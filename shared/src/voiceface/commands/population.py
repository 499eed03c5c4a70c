"""`voiceface population`: write a synthetic dataset to disk."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.io.wording import counted
from voiceface.synthetic.layout import PopulationError, build_settings
from voiceface.synthetic.writer import write_population

if TYPE_CHECKING:
    from voiceface.synthetic.layout import PopulationSettings

__all__ = ["build_parser", "main"]


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of `voiceface population`."""
    parser = argparse.ArgumentParser(
        prog="voiceface population",
        description="Generate a synthetic population with voices and faces and write it as files. Run the "
        "same command again to finish an interrupted run. Everything is synthetic: no real person is in it.",
    )
    parser.add_argument("out", metavar="OUT", type=Path, help="output folder")
    parser.add_argument(
        "--preset",
        default="quick",
        help="tiny, quick, standard, study, large or quirks: numbers, coupling and nuisance (default: quick)",
    )
    parser.add_argument(
        "--layout",
        choices=("voxceleb", "mavceleb"),
        default="voxceleb",
        help="folders and lists as of VoxCeleb1, or of MAV-Celeb: two synthetic languages, for `fop fame` "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--version",
        choices=("v1", "v2", "v3"),
        help="of MAV-Celeb, which names the languages (default: v1); the tree is written into OUT/VERSION",
    )
    parser.add_argument(
        "--identities",
        type=int,
        dest="num_identities",
        metavar="N",
        help="total number of identities (default: as in the preset)",
    )
    parser.add_argument("--seed", type=int, default=0, help="population seed (default: 0)")
    parser.add_argument(
        "--rho", type=float, help="voice-face coupling, 0 (none) to 1 (default: as in the preset)"
    )
    parser.add_argument(
        "--nuisance", type=float, help="factor on the variation between images of an identity"
    )
    parser.add_argument("--clips", type=int, help="utterances per identity")
    parser.add_argument("--clip-seconds", type=float, help="duration of an utterance in seconds")
    parser.add_argument("--images", type=int, dest="images", help="images per identity")
    parser.add_argument(
        "--image-size", type=int, dest="render_size", help="width and height of the images in pixels"
    )
    parser.add_argument(
        "--face-gain",
        type=float,
        help="factor on the shape of faces (default: 1.5; 1 is life-like)",
    )
    parser.add_argument("--confound", type=float, help="effect of nationality on voice and skin, 0 to 1")
    parser.add_argument(
        "--separate-sex",
        action="store_false",
        dest="share_sex",
        help="sample the face's sex independently of the voice's",
    )
    parser.add_argument(
        "--second-view", action="store_true", help="also write unzippedFaces/: the same images, by video"
    )
    parser.add_argument("--mesh", action="store_true", help="also write true heads (mesh/) and face model")
    parser.add_argument(
        "--voices-from", type=Path, metavar="DIR", help="link the utterances of another population"
    )
    parser.add_argument(
        "--videos",
        type=int,
        default=0,
        metavar="N",
        help="also write videos/: N videos of each identity speaking, with ground truth (default: 0)",
    )
    parser.add_argument("--no-lists", action="store_false", dest="lists", help="generate no trial lists")
    parser.add_argument("--workers", type=int, help="processes (default: one per core)")
    parser.add_argument(
        "--force", action="store_true", help="write the dataset even if its preset is intended for streaming"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `voiceface population`."""
    changes = vars(build_parser().parse_args(argv))
    out, name = changes.pop("out"), changes.pop("preset")
    options = {option: changes.pop(option) for option in ("workers", "lists", "voices_from", "force")}
    videos, layout, version = (changes.pop(option) for option in ("videos", "layout", "version"))
    _check_layout(layout, version, videos, options)
    if not 0 <= videos <= 99:
        raise PopulationError(f"--videos must lie in 0 ... 99, got {videos}")
    from voiceface.synthetic.presets import get_preset

    preset = get_preset(name)
    if not preset.on_disk and changes["num_identities"] is None and not options["force"]:
        raise PopulationError(
            f"the preset {name} is intended for streaming (voiceface.synthetic.dataset); "
            "use --identities or --force to write it"
        )
    rhos = preset.rhos if changes["rho"] is None else (changes["rho"],)
    for rho in rhos:
        settings = build_settings(preset, **{**changes, "rho": rho})
        folder = out if len(rhos) == 1 else out / f"rho_{rho:g}"
        if layout == "mavceleb":
            _write_mavceleb(folder, settings, version or "v1", options["workers"])
            continue
        write_population(folder, settings, **options)
        options["voices_from"] = options["voices_from"] or folder
        count = len(settings.ids())
        clips, images = count * settings.clips, count * settings.images
        print(f"{folder}: {count} identities, {clips} clips, {images} images; synthetic, no real person")
        if videos:
            from voiceface.synthetic.talking_heads.folders import write_talking_videos

            written = write_talking_videos(folder, settings, videos, workers=options["workers"])
            truth = folder / "truth" / "videos"
            print(f"{folder / 'videos'}: {counted(len(written), 'video')}, ground truth in {truth}")
    return 0


def _check_layout(layout: str, version: str | None, videos: int, options: dict[str, Any]) -> None:
    """Raise where an option does not belong to the layout."""
    if layout == "voxceleb" and version is not None:
        raise PopulationError("--version belongs to --layout mavceleb; give both, or leave it out")
    given = {
        "--videos": videos > 0,
        "--voices-from": options["voices_from"] is not None,
        "--no-lists": not options["lists"],
    }
    if layout == "mavceleb" and (wrong := [flag for flag, is_given in given.items() if is_given]):
        raise PopulationError(f"{', '.join(wrong)}: not with --layout mavceleb; leave it out")


def _write_mavceleb(out: Path, settings: "PopulationSettings", version: str, workers: int | None) -> None:
    """Write a tree in the layout of MAV-Celeb, and tell what it holds."""
    from voiceface.datasets.mavceleb.layout import LANGUAGES
    from voiceface.synthetic.mavceleb import write_mavceleb

    root = write_mavceleb(out, settings, version, workers=workers)
    train, test = len(settings.ids("train")) + len(settings.ids("val")), len(settings.ids("test"))
    print(
        f"{root}: {train} identities for training, {test} for the test, two synthetic languages called "
        f"{' and '.join(LANGUAGES[version])}; no real person"
    )


if __name__ == "__main__":
    raise SystemExit(main())
