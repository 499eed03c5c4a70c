"""Speak with the voice that the synthetic population gives to a face: `fop speak`."""

import argparse
from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.commandline import arguments
from voiceface.io.own_files import LeftOut

if TYPE_CHECKING:
    from fop.voice_factors import FactorPrediction

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """`fop speak`."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if not 0.5 <= args.seconds <= 600:
        parser.error(f"--seconds {args.seconds:g}: expected 0.5 to 600")
    if args.seed < 0:
        parser.error(f"--seed {args.seed}: expected 0 or more")

    from voiceface.association.embedding import find_files
    from voiceface.commandline.messages import print_disclaimers, report_left_out, report_notes
    from voiceface.faces.own_pictures import PictureReader
    from voiceface.io.file_kinds import printable
    from voiceface.io.input_files import require_writable_files

    left_out: list[LeftOut] = []
    recordings, faces = find_files(args.faces, left_out)
    pictures = PictureReader.from_arguments(args)
    if pictures.finds_faces:
        from voiceface.videos.own_videos import is_video

        videos = [path for path in recordings if is_video(path)]
        recordings, faces = [path for path in recordings if path not in videos], [*faces, *videos]
    left_out += [LeftOut(path, "a recording", "expected a picture or a video") for path in recordings]
    if not faces:
        raise ValueError("no picture or video of a face among the files; they are recordings")
    require_writable_files({"json": args.json})

    from voiceface.encoders.own_files import encode_own_files
    from voiceface.encoders.registry import load_encoder

    from fop.voice_factors import DISCLAIMER, load_voice_factors

    model = load_voice_factors(args.weights)
    encoder = load_encoder(model.encoder.name, "face", device=args.device)
    if encoder.fingerprint != model.encoder.fingerprint:
        raise ValueError(
            f"the weights belong to another version of the face encoder {model.encoder.name}: run "
            "`fop probe` with the installed one, and give its file with --weights"
        )
    encoder.use_pictures(pictures)
    print_disclaimers(DISCLAIMER, encoder.info.disclaimer)
    table = encode_own_files([], faces, None, encoder, workers=args.workers)
    prediction = model.predict(table.vectors)
    single = len(table) == 1 and args.out.suffix.lower() == ".wav"
    files = [args.out] if single else name_outputs(args.out, table.items)
    write_voices(files, prediction, args.seconds, args.seed)
    for item, file, male, factors in zip(table.items, files, prediction.male, prediction.factors):
        print(f"{printable(item)} -> {printable(file)}: {describe_factors(bool(male), factors.tolist())}")
    if args.json:
        write_record(args.json, table.items, files, prediction)
    report_notes(table.facts.values())
    left_out += [LeftOut.from_error(item, reason) for item, reason in table.failed.items()]
    return report_left_out(left_out, strict=args.strict)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of `fop speak`."""
    parser = argparse.ArgumentParser(
        prog="fop speak",
        description="Predict the eight voice factors of the synthetic population from faces, and say them. "
        "The voices follow a rule of synthetic identities; they say nothing about real people.",
    )
    parser.add_argument("faces", nargs="+", type=Path, help="pictures, videos, and folders of them")
    parser.add_argument(
        "--out", type=Path, required=True, help="sound file to write (.wav); of several faces a folder"
    )
    parser.add_argument("--weights", type=Path, help="voice factors of `fop probe` (default: bundled)")
    parser.add_argument("--seconds", type=float, default=5.0, help="length, 0.5 to 600 (default: 5)")
    parser.add_argument("--seed", type=int, default=0, help="of syllables and melody (default: 0)")
    parser.add_argument("--json", type=Path, help="also write the factors")
    arguments.add_crop_arguments(parser, every_face=True)
    arguments.add_strict_argument(parser)
    arguments.add_workers_argument(parser)
    arguments.add_device_argument(parser)
    return parser


def name_outputs(folder: Path, items: Sequence[str]) -> list[Path]:
    """Name a sound file for every face; faces of one file name get numbers.

    Args:
        folder: where they are written.
        items: names of the faces, such as "people/a.jpg" and "people/a.jpg#2".

    Raises:
        ValueError: the folder is an existing file, or a name of a sound file.
    """
    if len(items) == 1 and folder.is_file():
        raise ValueError(f"--out {folder} is another file; name a sound file (.wav) or a folder")
    if folder.suffix.lower() == ".wav" or folder.is_file():
        raise ValueError(f"--out {folder}: there are {len(items)} faces; name a folder, not one file")
    used: set[str] = set()
    names = []
    for item in items:
        file, _, face = item.rpartition("#") if item.rpartition("#")[2].isdigit() else (item, "", "")
        name = Path(file).stem + (f"_{face}" if face else "")
        numbered = (f"{name}-{number}" for number in count(2))
        chosen = next(each for each in chain([name], numbered) if each not in used)
        used.add(chosen)
        names.append(folder / f"{chosen}.wav")
    return names


def write_voices(files: Sequence[Path], prediction: "FactorPrediction", seconds: float, seed: int) -> None:
    """Synthesise and write one sound file for each face, whole or not at all."""
    from voiceface.audio.loading import write_wav
    from voiceface.runtime.progress import progress_bar

    from fop.voice_factors import speak_factors

    rows = zip(files, prediction.male.tolist(), prediction.factors)
    for file, male, factors in progress_bar(rows, "speak", "voice", total=len(files)):
        write_wav(file, speak_factors(male, factors, seconds=seconds, seed=seed))


def write_record(
    path: Path, items: Sequence[str], files: Sequence[Path], prediction: "FactorPrediction"
) -> None:
    """Write the factors of every face as JSON."""
    from voiceface.io.atomic import write_json
    from voiceface.synthetic.identities import FACTORS

    from fop.voice_factors import DISCLAIMER

    faces = [
        {
            "face": item,
            "sound": file.as_posix(),
            "sex": "male" if male else "female",
            "factors": dict(zip(FACTORS, factors)),
        }
        for item, file, male, factors in zip(
            items, files, prediction.male.tolist(), prediction.factors.tolist()
        )
    ]
    write_json(path, {"disclaimer": DISCLAIMER, "faces": faces})


def describe_factors(male: bool, factors: Sequence[float]) -> str:
    """Describe a voice: "male, larynx +0.12, ..."."""
    from voiceface.synthetic.identities import FACTORS

    values = ", ".join(f"{name} {value:+.2f}" for name, value in zip(FACTORS, factors))
    return f"{'male' if male else 'female'}, {values}"


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("fop.speak", None))
