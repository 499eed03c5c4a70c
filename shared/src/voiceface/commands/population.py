"""`voiceface population`: write a synthetic dataset to disk."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from voiceface.synthetic.layout import (
    PopulationError,
    build_settings,
)
from voiceface.synthetic.writer import write_population

__all__ = [
    "build_parser",
    "main",
]


def build_parser() -> argparse.ArgumentParser:
    """The command line of `voiceface population`."""
    parser = argparse.ArgumentParser(
        prog="voiceface population",
        description="Generate a synthetic population with voices and faces and write it as files. Run the "
        "same command again to finish an interrupted run. Everything is synthetic: no real person is in it.",
    )
    parser.add_argument("out", metavar="OUT", type=Path, help="folder of the tree")
    parser.add_argument(
        "--preset",
        default="quick",
        help="tiny, quick, standard, study, large or quirks: sizes, coupling and nuisance (default: quick)",
    )
    parser.add_argument(
        "--identities",
        type=int,
        dest="num_identities",
        metavar="N",
        help="identities in all, instead of the preset's",
    )
    parser.add_argument("--seed", type=int, default=0, help="population seed (default: 0)")
    parser.add_argument(
        "--rho", type=float, help="coupling of voice and face, 0 (none) to 1, instead of the preset's"
    )
    parser.add_argument(
        "--nuisance", type=float, help="factor on what differs between images of one identity"
    )
    parser.add_argument("--clips", type=int, help="clips per identity")
    parser.add_argument("--clip-seconds", type=float, help="length of a clip in seconds")
    parser.add_argument("--images", type=int, dest="images", help="pictures per identity")
    parser.add_argument(
        "--image-size", type=int, dest="render_size", help="width and height of the images in pixels"
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
        "--second-view", action="store_true", help="also unzippedFaces/, the same images by video"
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
    from voiceface.synthetic.presets import get_preset

    chosen = get_preset(preset)
    if not chosen.on_disk and asked["num_identities"] is None and not how["force"]:
        raise PopulationError(
            f"{preset} is made to be streamed (voiceface.synthetic.dataset); "
            "give --identities or --force to write it"
        )
    rhos = chosen.rhos if asked["rho"] is None else (asked["rho"],)
    first = None
    for rho in rhos:
        settings = build_settings(chosen, **{**asked, "rho": rho})
        place = out if len(rhos) == 1 else out / f"rho_{rho:g}"
        write_population(place, settings, **{**how, "voices_from": how["voices_from"] or first})
        first = first or place
        people = len(settings.ids())
        clips, pictures = people * settings.clips, people * settings.images
        print(f"{place}: {people} identities, {clips} clips, {pictures} images; synthetic, no real person")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
