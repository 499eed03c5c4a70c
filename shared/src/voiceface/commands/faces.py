"""`voiceface faces PICTURE ...`: find the faces of people's own pictures and videos and cut them out."""

import argparse
import dataclasses
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.commandline.arguments import add_device_argument, add_strict_argument
from voiceface.commandline.exit_status import ERROR
from voiceface.commandline.messages import report_left_out
from voiceface.io.atomic import write_json, write_png
from voiceface.io.decoding_worker import decoding_in_workers
from voiceface.io.file_kinds import printable
from voiceface.io.input_files import make_writable_directory
from voiceface.io.own_files import LeftOut, describe_left_out, find_own_files

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from voiceface.faces.finding import FaceFinder
    from voiceface.io.file_facts import FileFacts

__all__ = ["CONVENTIONS", "FaceRecord", "find_faces_of_files", "find_pictures", "main", "write_sheets"]

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
        time: of a video, seconds from its beginning; faces are then its people.
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
    time: float | None = None


@decoding_in_workers(1)
def main(argv: Sequence[str] | None = None) -> int:
    """Find faces; files without one are left out and listed."""
    parser = argparse.ArgumentParser(
        prog="voiceface faces",
        description="Find the faces in your own pictures, and the people in your own videos, and cut them "
        "out as a system expects them. OUT holds the crops, contact sheets to look at, and faces.json: box, "
        "five points, quality, and what makes a face doubtful. Needs the networks of `voiceface models get "
        "real`, or --face-finder.",
    )
    parser.add_argument(
        "pictures",
        nargs="+",
        type=Path,
        metavar="PICTURE",
        help="pictures and videos, and folders searched recursively",
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for faces.json, crops and contact sheets"
    )
    parser.add_argument(
        "--every-face", action="store_true", help="all faces of a picture, not only the largest"
    )
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
    parser.add_argument(
        "--face-finder",
        type=Path,
        metavar="FILE.onnx",
        help="find faces by YuNet or SCRFD in place of the networks of `voiceface models get real`",
    )
    add_strict_argument(parser)
    add_device_argument(parser)
    options = parser.parse_args(argv)
    pictures, left_out = find_pictures(options.pictures)
    finder: FaceFinder
    if options.face_finder is not None:
        from voiceface.faces.finder_files import open_face_finder

        finder = open_face_finder(options.face_finder)
    else:
        from voiceface.faces.finding import load_face_finder

        finder = load_face_finder(options.backend, options.device)
    out = make_writable_directory(options.out)
    records, without = find_faces_of_files(
        finder, pictures, out, every_face=options.every_face, convention=options.convention
    )
    left_out += without
    for record in records:
        state = "; ".join(record.problems) or "good"
        crop = printable(record.crop)
        print(f"{printable(record.file)}#{record.face} of {record.faces_in_picture}  {crop}  {state}")
    sheets = write_sheets(records, out)
    files = {
        "format": 2,
        "faces": [dataclasses.asdict(record) for record in records],
        "left_out": describe_left_out(left_out),
    }
    write_json(out / "faces.json", files)
    print(
        f"{len(records)} faces: {out / 'faces.json'}"
        + (f", {', '.join(str(sheet) for sheet in sheets)}" if sheets else ""),
        file=sys.stderr,
    )
    status = report_left_out(left_out, strict=options.strict)
    return status if records else ERROR


def find_pictures(paths: Sequence[Path]) -> tuple[list[tuple[Path, Path]], list[LeftOut]]:
    """Find pictures among files and, recursively, in folders, by their content.

    Args:
        paths: files and folders; see `voiceface.io.own_files.find_own_files`.

    Returns:
        ((picture or video, relative path of its results), files that are neither pictures nor recordings).

    Raises:
        FileNotFoundError: a path does not exist, or there are no pictures.
        ValueError: a given file is no picture.
    """
    from voiceface.videos.own_videos import is_video

    pictures: dict[Path, Path] = {}
    left_out: list[LeftOut] = []
    for given in paths:
        found = find_own_files([given])
        left_out += found.left_out
        videos = [path for path in found.sounds if is_video(path)]
        if not given.is_dir() and found.sounds and not videos:
            raise ValueError(f"{printable(given)} is a recording, expected a picture or a video")
        for path in [*found.pictures, *videos]:
            pictures.setdefault(path, path.relative_to(given) if given.is_dir() else Path(path.name))
    if not pictures:
        raise FileNotFoundError(f"no pictures in {', '.join(map(printable, paths))}")
    return list(pictures.items()), left_out


def find_faces_of_files(
    finder: "FaceFinder",
    pictures: Sequence[tuple[Path, Path]],
    out: Path,
    *,
    every_face: bool = False,
    convention: str = CONVENTIONS[0],
) -> tuple[list[FaceRecord], list[LeftOut]]:
    """Find the faces of files and write a crop of each.

    Args:
        finder: what finds faces.
        pictures: of `find_pictures`.
        out: folder; crops are written below `crops/`.
        every_face: all faces of a picture, not the largest.
        convention: of the crops.

    Returns:
        (one record per face, pictures without a face).

    Raises:
        OSError: a crop cannot be written.
    """
    from voiceface.faces.crops import crop_face
    from voiceface.faces.own_face import describe_face
    from voiceface.faces.own_pictures import PictureReader
    from voiceface.images.loading import ImageError
    from voiceface.images.photographs import load_photograph
    from voiceface.runtime.progress import progress_bar
    from voiceface.videos.own_videos import find_people, is_video, read_video_face

    records: list[FaceRecord] = []
    left_out: list[LeftOut] = []
    taken: set[Path] = set()
    reader = PictureReader("always", convention, finder=finder)
    for path, place in progress_bar(pictures, "faces", "picture"):
        if is_video(path):
            try:
                people = find_people(path, reader)
            except (ValueError, OSError) as error:
                left_out.append(LeftOut.from_error(path, error))
                continue
            for person in people:
                seen = person.facts.face
                assert seen is not None
                name = _free_name(Path("crops") / place.parent / f"{place.name}#{seen.number}.png", taken)
                write_png(out / name, read_video_face(path, seen))
                records.append(_record(path, name, person.facts))
            continue
        try:
            image = load_photograph(path)
        except (ImageError, OSError) as error:
            left_out.append(LeftOut.from_error(path, error))
            continue
        faces = finder.find([image])[0]
        if not faces:
            remedy = "give a picture in which the face is larger or faces the camera"
            left_out.append(LeftOut(path, "no face found", remedy))
            continue
        for number, face in enumerate(faces if every_face else faces[:1], 1):
            name = _free_name(Path("crops") / place.parent / f"{place.name}#{number}.png", taken)
            write_png(out / name, crop_face(image, face.points, convention))
            facts = describe_face(path, face, number=number, faces_in_picture=len(faces), crop=convention)
            records.append(_record(path, name, facts))
    return records, left_out


def _free_name(wanted: Path, taken: set[Path]) -> Path:
    """A name that no other result has: files of several folders may be called alike."""
    names = itertools.chain([wanted], (wanted.with_stem(f"{wanted.stem}_{k}") for k in itertools.count(2)))
    name = next(each for each in names if each not in taken)
    taken.add(name)
    return name


def _record(path: Path, crop: Path, facts: "FileFacts") -> FaceRecord:
    face = facts.face
    assert face is not None
    return FaceRecord(
        file=str(path),
        face=face.number,
        faces_in_picture=face.faces_in_picture,
        crop=crop.as_posix(),
        box=list(face.box),
        points=[list(point) for point in face.points],
        score=face.score,
        presence=face.presence,
        quality=dict(facts.measures),
        problems=list(facts.notes),
        time=face.time,
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
    from voiceface.videos.own_videos import read_video_image

    sheets, per_sheet = [], COLUMNS * ROWS
    for first in range(0, len(records), per_sheet):
        chosen = records[first : first + per_sheet]
        height = -(-len(chosen) // COLUMNS) * TILE
        sheet = np.full((height, 2 * TILE * COLUMNS, 3), 255, np.uint8)
        for k, record in enumerate(chosen):
            top, left = k // COLUMNS * TILE, k % COLUMNS * 2 * TILE
            if record.time is None:
                picture = load_photograph(record.file)
            else:
                picture = read_video_image(record.file, record.time)
            _paste(sheet, _drawn(picture, record), top, left)
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
