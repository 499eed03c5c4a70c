"""People's own videos as pictures: the best image of every person is a candidate, "clip.mp4#1" and so on."""

import os
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voiceface.faces.own_face import OwnFace, cut_out, describe_face
from voiceface.faces.own_pictures import PictureReader
from voiceface.images.loading import ImageError
from voiceface.io.file_facts import FaceFacts
from voiceface.io.file_kinds import printable
from voiceface.io.foreign_files import find_file_kind
from voiceface.real.backends import choose_backend
from voiceface.real.face_encoder import FaceEncoder, load_face_encoder
from voiceface.real.installation import find_installed, models_directory
from voiceface.videos.containers import VideoError, has_pictures, open_container
from voiceface.videos.decoding import iterate_images
from voiceface.videos.people import IMAGES_PER_TRACK, embed_tracks, join_tracks, join_tracks_by_place
from voiceface.videos.tracks import FaceTrack, find_face_tracks

__all__ = ["PEOPLE_RATE", "find_people", "is_video", "read_video_face", "read_video_image"]

Image = NDArray[np.uint8]
PEOPLE_RATE = 5.0
"""Images a second that are searched for people: who speaks does not matter here."""


def is_video(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a video: a container such as MP4 with pictures beside a cover, or a damaged one."""
    kind = find_file_kind(path)
    if kind is None or kind.key != "video":
        return False
    try:
        with open_container(path) as container:
            return has_pictures(container)
    except (VideoError, OSError):
        return True  # its reader says what is wrong


def find_people(path: str | os.PathLike[str], reader: PictureReader) -> list[OwnFace]:
    """Find the best image of every person in a video.

    Tracks are joined to people by the face encoder where it is installed, else by their place.

    Args:
        path: a video.
        reader: its finder finds the faces, its convention cuts them out.

    Returns:
        A candidate for each person, who is seen longest first; box and points are those of the video's image
        at the time of the record.

    Raises:
        FileNotFoundError: no such file.
        ImageError: no face in the video.
        voiceface.videos.containers.VideoError: no readable video.
    """
    tracks = find_face_tracks(path, reader.finder, rate=PEOPLE_RATE, max_images=IMAGES_PER_TRACK).tracks
    if not tracks:
        raise ImageError(
            f"{printable(path)}: no face found in the video; give one in which faces are larger or look into "
            "the camera"
        )
    encoder = _load_encoder(models_directory())
    if encoder is None:
        groups = join_tracks_by_place(tracks)
    else:
        groups = join_tracks(tracks, embed_tracks(tracks, encoder))
    groups.sort(key=lambda group: (-sum(len(tracks[k].times) for k in group), group))
    return [
        _candidate(Path(path), tracks, group, k, len(groups), reader) for k, group in enumerate(groups, 1)
    ]


def read_video_face(path: str | os.PathLike[str], face: FaceFacts) -> Image:
    """Decode the image of a video in which a face was found, and cut it out: what went into the network.

    Args:
        path: the video.
        face: of `find_people`.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        FileNotFoundError, ImageError, voiceface.videos.containers.VideoError: as `read_video_image`.
    """
    return cut_out(read_video_image(path, face.time or 0.0), face)


def read_video_image(path: str | os.PathLike[str], seconds: float) -> Image:
    """Decode the image of a video at a time, upright, (H, W, 3) uint8 RGB.

    Args:
        path: the video.
        seconds: its time from the beginning of the file, as `FaceFacts.time`.

    Raises:
        FileNotFoundError: no such file.
        ImageError: the file has no image at this time.
        voiceface.videos.containers.VideoError: no readable video.
    """
    with iterate_images(path, start=max(0.0, seconds - 1e-4), end=seconds + 1.0) as images:
        time, image = next(iter(images), (None, None))
    if time is None or image is None or abs(time - seconds) > 1e-3:
        raise ImageError(
            f"{printable(path)}: no image at {seconds:.3f} s; its faces were found in another file"
        )
    return image


def _candidate(
    path: Path,
    tracks: tuple[FaceTrack, ...],
    group: list[int],
    number: int,
    count: int,
    reader: PictureReader,
) -> OwnFace:
    """The best image of a person, with points in the image of the video."""
    place, best = max(
        ((k, image) for k in group for image in tracks[k].images), key=lambda each: each[1].score
    )
    track = tracks[place]
    row = int(np.abs(track.times - best.time).argmin())
    facts = describe_face(
        path,
        best.face,
        number=number,
        faces_in_picture=count,
        crop=reader.convention,
        time=float(best.time),
        box=track.boxes[row],
        points=track.points[row],
    )
    return OwnFace(f"{path.as_posix()}#{number}", path, facts)


@lru_cache(2)
def _load_encoder(_: Path) -> FaceEncoder | None:
    """The face encoder in a cache folder; None: it was not fetched."""
    if find_installed("face_encoder") is None:
        return None
    return load_face_encoder(choose_backend())
