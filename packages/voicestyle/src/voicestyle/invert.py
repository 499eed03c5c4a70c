"""`voicestyle invert`: codes whose pictures look like given ones."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from voicestyle.flags import add_networks, tools_of_flags


def main(argv: Sequence[str] | None = None) -> int:
    """Invert pictures; the exit code is 1 where one could not be read."""
    args = build_parser().parse_args(argv)
    from voiceface.commandline.messages import tell_left_out, tell_notices
    from voiceface.io.input_files import writable_folder
    from voiceface.runtime.config import load_config
    from voiceface.runtime.process import Interrupts, keep_freed_memory

    from voicestyle.bank import FilePicture
    from voicestyle.config import VoiceStyleConfig
    from voicestyle.journey import Inverted, identity_of, invert_kept, open_folder, require_room
    from voicestyle.page import write_inversions

    keep_freed_memory()
    config = load_config(args.cfg, VoiceStyleConfig, "voicestyle", args.set)
    found, left_out = find_pictures(args.pictures), []
    require_room(args.out, args.resume)
    tools = tools_of_flags(args, config)
    tell_notices(tools.notice)
    out = writable_folder(args.out)
    readable = []
    for path, label in found:
        picture = FilePicture(path, label)
        try:
            picture.read()
            readable.append((path, picture))
        except (ValueError, OSError) as error:
            left_out.append(str(error))
    if not readable:
        raise ValueError(f"none of the {len(found)} pictures can be read: {left_out[0]}")
    voices = [(path, Path(picture.label)) for path, picture in readable]
    open_folder(out, identity_of(voices, None, tools), config, args.resume)
    size, results = config.inversion.batch, dict[str, Inverted]()
    try:
        with Interrupts() as interrupts:
            for at in range(0, len(readable), size):
                group = [(picture.label, picture.read) for _, picture in readable[at : at + size]]
                results |= invert_kept(group, tools, config, out, interrupts)
                print(f"inverted {min(at + size, len(readable))} of {len(readable)}", flush=True)
    except KeyboardInterrupt:
        print(f"what is done lies in {out}; give --resume to go on", file=sys.stderr)
        raise
    tell_left_out(left_out)
    page = write_inversions(out / "index.html", list(results.values()), config, tools.notice)
    print(f"pictures and codes: {out / 'inversions'}\nreport: {page}")
    return 1 if left_out else 0


def find_pictures(paths: Sequence[Path]) -> list[tuple[Path, str]]:
    """Pictures among files and, to any depth, folders: (file, label).

    Raises:
        FileNotFoundError: a path is not there, or nothing was found.
    """
    from voicestyle.stylegan2.collection import SUFFIXES

    found: dict[Path, str] = {}
    for given in paths:
        if given.is_dir():
            files = [p for p in sorted(given.rglob("*")) if p.suffix.lower() in SUFFIXES and p.is_file()]
            files = [p for p in files if not p.name.startswith(".")]
            found |= {path: path.relative_to(given).as_posix() for path in files}
        elif given.is_file():
            found[given] = given.name
        else:
            raise FileNotFoundError(f"no file or folder at {given}")
    if not found:
        raise FileNotFoundError(
            f"no pictures ({', '.join(sorted(SUFFIXES))}) in {', '.join(map(str, paths))}"
        )
    if len(set(found.values())) < len(found):
        raise ValueError("two of the pictures have one name: give the folder above them")
    return list(found.items())


def build_parser() -> argparse.ArgumentParser:
    """The flags."""
    parser = argparse.ArgumentParser(
        prog="voicestyle invert",
        description="Find the codes of StyleGAN2 whose pictures look like given ones. Results are "
        "OUT/inversions/NAME.png (picture and inversion), NAME.safetensors (code, noise maps, losses) and "
        "OUT/index.html; a stopped run goes on with --resume.",
    )
    add = parser.add_argument
    add("pictures", nargs="+", type=Path, metavar="PICTURE", help="files, and folders searched to any depth")
    add("--out", type=Path, required=True, help="folder for the results")
    add("--cfg", default="default", help="bundled name (default, quick, published) or a file")
    add(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="section.key=value, such as inversion.mse=1"
    )
    add("--resume", action="store_true", help="go on with what lies in --out")
    add_networks(parser)
    return parser


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("voicestyle.invert", None))
