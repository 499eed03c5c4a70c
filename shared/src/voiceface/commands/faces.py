"""`voiceface faces PICTURE ...`: find the faces of people's own pictures, check them and cut them out."""

import argparse
import dataclasses
import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.commandline.arguments import add_device_argument
from voiceface.commandline.messages import print_skipped
from voiceface.io.atomic import write_json, write_png
from voiceface.io.decoding_worker import decoding_in_workers
from voiceface.io.file_kinds import printable
from voiceface.io.input_files import make_writable_directory

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from voiceface.faces.finding import FaceFinder, FoundFace

__all__ = ["CONVENTIONS", "FaceRecord", "find_faces_of_files", "iterate_pictures", "main", "write_sheets"]

CONVENTIONS = ("population", "vggface_frontal", "arcface", "ffhq")
TILE, COLUMNS, ROWS = 160, 4, 8  # of a contact sheet: picture and crop side by side


@dataclasses.dataclass(frozen=True)
class FaceRecord:
    """One face of one file, as in `faces.json`.

    Attributes:
        file: the picture.
        face: number within the picture, from 1, largest first.
        faces_in_picture: how many faces were found in it.
        crop: the cut-out file, relative to the output folder.
        box: left, top, right, bottom in pixels.
        points: five points, pixels: left eye, right eye (of the picture), nose, corners of the mouth.
        score: of the detector, 0...1.
        presence: probability that it is a face.
        quality: measures of `voiceface.faces.quality.FaceQuality`.
        problems: what makes an embedding doubtful.
    """

    file: str
    face: int
    faces_in_picture: int
    crop: str
    box: list[float]
    points: list[list[float]]
    score: float
    presence: float
    quality: dict[str, float]
    problems: list[str]


@decoding_in_workers(1)
def main(argv: Sequence[str] | None = None) -> int:
    """Find faces; exit code 0 faces were found, 1 none, 2 bad usage."""
    parser = argparse.ArgumentParser(prog="voiceface faces", description=__doc__)
    parser.add_argument(
        "pictures", nargs="+", type=Path, metavar="PICTURE", help="files, or folders of files"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for faces.json, crops and contact sheets"
    )
    parser.add_argument("--every-face", action="store_true", help="all faces of a picture, not the largest")
    parser.add_argument(
        "--convention",
        choices=CONVENTIONS,
        default=CONVENTIONS[0],
        help="crops as in these training pictures (default: %(default)s)",
    )
    parser.add_argument(
        "--backend",
        choices=("torch", "onnxruntime"),
        default="torch",
        help="library that computes the networks (default: %(default)s)",
    )
    add_device_argument(parser)
    try:
        options = parser.parse_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    for path in options.pictures:
        if not path.exists():
            raise FileNotFoundError(f"no file or folder at {printable(path)}")
    from voiceface.faces.finding import load_face_finder

    finder = load_face_finder(options.backend, options.device)
    out = make_writable_directory(options.out)
    records, skipped = find_faces_of_files(
        finder, options.pictures, out, every_face=options.every_face, convention=options.convention
    )
    for record in records:
        state = "; ".join(record.problems) or "good"
        print(f"{printable(record.file)}#{record.face} of {record.faces_in_picture}  {record.crop}  {state}")
    print_skipped(skipped)
    sheets = write_sheets(records, out)
    files = {"format": 1, "faces": [dataclasses.asdict(record) for record in records], "left_out": skipped}
    write_json(out / "faces.json", files)
    print(
        f"{len(records)} faces, {len(skipped)} files left out: {out / 'faces.json'}"
        + (f", {', '.join(str(sheet) for sheet in sheets)}" if sheets else ""),
        file=sys.stderr,
    )
    return 0 if records else 1


def iterate_pictures(paths: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """Files, and all files below folders without hidden ones, each with a relative path for its results."""
    for given in paths:
        if not given.is_dir():
            yield given, Path(given.name)
            continue
        for path in sorted(given.rglob("*")):
            place = path.relative_to(given)
            if path.is_file() and not any(part.startswith(".") for part in place.parts):
                yield path, place


def find_faces_of_files(
    finder: "FaceFinder",
    paths: Sequence[Path],
    out: Path,
    *,
    every_face: bool = False,
    convention: str = CONVENTIONS[0],
) -> tuple[list[FaceRecord], dict[str, str]]:
    """Find the faces of files and write a crop of each.

    Args:
        finder: what finds faces.
        paths: files and folders.
        out: folder; crops are written below `crops/`.
        every_face: all faces of a picture, not the largest.
        convention: of the crops.

    Returns:
        (one record per face, file -> reason why it was left out).

    Raises:
        OSError: a crop cannot be written.
    """
    from voiceface.faces.crops import crop_face
    from voiceface.images.loading import ImageError
    from voiceface.images.photographs import load_photograph

    records: list[FaceRecord] = []
    skipped: dict[str, str] = {}
    taken: set[Path] = set()
    for path, place in iterate_pictures(paths):
        try:
            image = load_photograph(path)
        except (ImageError, OSError) as error:
            skipped[str(path)] = str(error).removeprefix(f"{printable(path)}: ")
            continue
        faces = finder.find([image])[0]
        if not faces:
            skipped[str(path)] = (
                "no face found; give a picture in which the face is larger or faces the camera"
            )
            continue
        for number, face in enumerate(faces if every_face else faces[:1], 1):
            name = _free_name(Path("crops") / place.parent / f"{place.name}#{number}.png", taken)
            write_png(out / name, crop_face(image, face.points, convention))
            records.append(_record(path, number, len(faces), name, face))
    return records, skipped


def _free_name(wanted: Path, taken: set[Path]) -> Path:
    """A name that no other result has: files of several folders may be called alike."""
    names = itertools.chain([wanted], (wanted.with_stem(f"{wanted.stem}_{k}") for k in itertools.count(2)))
    name = next(each for each in names if each not in taken)
    taken.add(name)
    return name


def _record(path: Path, number: int, count: int, crop: Path, face: "FoundFace") -> FaceRecord:
    quality: dict[str, Any] = dataclasses.asdict(face.quality)
    return FaceRecord(
        file=str(path),
        face=number,
        faces_in_picture=count,
        crop=crop.as_posix(),
        box=[round(float(value), 2) for value in face.box],
        points=[[round(float(value), 2) for value in point] for point in face.points],
        score=round(face.score, 4),
        presence=round(face.presence, 4),
        quality={name: round(float(value), 4) for name, value in quality.items()},
        problems=list(face.quality.problems),
    )


def write_sheets(records: Sequence[FaceRecord], out: Path) -> list[Path]:
    """Write contact sheets, `sheet_001.png` and so on: picture with box and points, and crop beside it.

    Args:
        records: of `find_faces_of_files`.
        out: the folder that holds the crops.

    Returns:
        The sheets.
    """
    import numpy as np

    from voiceface.images.loading import load_image
    from voiceface.images.photographs import load_photograph

    sheets, per_sheet = [], COLUMNS * ROWS
    for first in range(0, len(records), per_sheet):
        chosen = records[first : first + per_sheet]
        height = -(-len(chosen) // COLUMNS) * TILE
        sheet = np.full((height, 2 * TILE * COLUMNS, 3), 255, np.uint8)
        for k, record in enumerate(chosen):
            top, left = k // COLUMNS * TILE, k % COLUMNS * 2 * TILE
            _paste(sheet, _drawn(load_photograph(record.file), record), top, left)
            _paste(sheet, _fitted(load_image(out / record.crop)), top, left + TILE)
        sheets.append(out / f"sheet_{first // per_sheet + 1:03}.png")
        write_png(sheets[-1], sheet)
    return sheets


def _fitted(image: "NDArray[np.uint8]") -> "NDArray[np.uint8]":
    """Scaled to fit into a tile."""
    from voiceface.images.transforms import resize_longer_side

    return resize_longer_side(image, TILE - 4)


def _drawn(image: "NDArray[np.uint8]", record: FaceRecord) -> "NDArray[np.uint8]":
    """A picture with the box and the points of a face, scaled to fit into a tile."""
    import cv2

    small = _fitted(image)
    scale = max(small.shape[:2]) / max(image.shape[:2])
    green, red = (0, 200, 0), (230, 30, 30)
    corners = [round(value * scale) for value in record.box]
    drawn = cv2.rectangle(small.copy(), corners[:2], corners[2:], red if record.problems else green, 1)
    for x, y in record.points:
        drawn = cv2.circle(drawn, (round(x * scale), round(y * scale)), 1, green, -1)
    return drawn  # type: ignore[return-value]


def _paste(sheet: "NDArray[np.uint8]", image: "NDArray[np.uint8]", top: int, left: int) -> None:
    height, width = image.shape[:2]
    sheet[top + 2 : top + 2 + height, left + 2 : left + 2 + width] = image
