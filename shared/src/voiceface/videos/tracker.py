"""Following faces from image to image.

With the finder of `voiceface.faces` the detector runs at intervals and after cuts; in between the mesh is
fitted where the last one was, and its presence score tells whether the face is still there. Other finders
search every image. A track ends where its face is lost, jumps, or is covered by another face: what follows
is a new track, so that no track goes from one person to another.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from voiceface.faces.finding import EYES, MOUTH, NOSE_TIP, FaceFinder, FoundFace, MeshFaceFinder
from voiceface.faces.quality import measure_quality
from voiceface.real.face_detector import LEFT_EYE, POINT_NAMES, RIGHT_EYE, FaceDetections, box_overlaps
from voiceface.videos.mouth import mouth_opening
from voiceface.videos.track_images import BestImages

__all__ = ["KEPT_PRESENCE", "MAX_JUMP", "MAX_OVERLAP", "FaceTracker", "OpenTrack"]

Array = NDArray[np.float32]
Image = NDArray[np.uint8]
KEPT_PRESENCE = 0.7
"""Presence below which a face that is followed is lost; to be found it needs more."""
MAX_JUMP = 0.4
"""Distance from where its motion leads a face, by its longer side, beyond which it is another face."""
MAX_GROWTH = 1.35
"""Ratio of the sizes of a face in successive images beyond which it is another face."""
MAX_OVERLAP = 0.3
"""Intersection over union of two faces beyond which one hides the other, and both tracks end."""
SAME_FACE = 0.25
"""Intersection over union from which a detection is of a face that is followed."""
MAX_LEAD = 0.3
"""Longest step by which the next place is foretold, by the longer side of the face."""


@dataclass(eq=False)
class OpenTrack:
    """A track that is being followed.

    Attributes:
        shot: number of the shot.
        images: its best images.
        times: seconds.
        boxes: (4,) each.
        points: (5, 2) each.
        mouth: opening each; NaN without a mesh.
        face: the last one.
        unseen: runs of the detector in succession that did not find it.
    """

    shot: int
    images: BestImages
    times: list[float] = field(default_factory=list)
    boxes: list[Array] = field(default_factory=list)
    points: list[Array] = field(default_factory=list)
    mouth: list[float] = field(default_factory=list)
    face: FoundFace | None = None
    unseen: int = 0

    def add(self, time: float, image: Image, face: FoundFace) -> None:
        """Add the face in the next image."""
        self.times.append(time)
        self.boxes.append(face.box)
        self.points.append(face.points)
        self.mouth.append(np.nan if face.mesh is None else float(mouth_opening(face.mesh)))
        self.face = face
        self.images.add(time, image, face)

    def cut_off(self, time: float) -> None:
        """Forget everything behind a time."""
        count = sum(each <= time for each in self.times)
        for rows in (self.times, self.boxes, self.points, self.mouth):
            del rows[count:]
        self.images.cut_off(time)

    @property
    def last(self) -> FoundFace:
        """The face in the last image."""
        assert self.face is not None
        return self.face

    @property
    def lead(self) -> Array:
        """Where its motion leads it until the next image, (2,) pixels."""
        if len(self.boxes) < 2:
            return np.zeros(2, np.float32)
        step = _middle(self.boxes[-1]) - _middle(self.boxes[-2])
        longest = MAX_LEAD * _side(self.boxes[-1])
        length = float(np.hypot(*step))
        return step if length <= longest else (step * (longest / length)).astype(np.float32)

    def continues_in(self, face: FoundFace) -> bool:
        """Whether a face in the next image can be this one, by place and size."""
        side, other = _side(self.boxes[-1]), _side(face.box)
        if not 1 / MAX_GROWTH <= other / side <= MAX_GROWTH:
            return False
        away = _middle(face.box) - _middle(self.boxes[-1]) - self.lead
        return bool(np.hypot(*away) <= MAX_JUMP * side)


class FaceTracker:
    """Follows the faces of a video; see the module.

    Args:
        finder: finds faces.
        interval: seconds between runs of the detector; not used by finders without a mesh.
        max_faces: faces that are followed at a time: the largest ones.
        max_images: images that are kept of each track.
    """

    def __init__(self, finder: FaceFinder, interval: float, max_faces: int, max_images: int) -> None:
        self._finder, self._interval = finder, interval
        self._max_faces, self._max_images = max_faces, max_images
        self._open: list[OpenTrack] = []
        self._next_search = -np.inf
        self._shot = 0

    def add(self, time: float, image: Image, *, cut: bool) -> list[OpenTrack]:
        """Follow all faces into the next image; return the tracks that ended before it.

        Args:
            time: seconds.
            image: RGB, (H, W, 3) uint8.
            cut: a cut lies before the image.
        """
        ended = self.finish() if cut else []
        self._shot += cut
        search: bool = cut or time >= self._next_search - 1e-6
        if isinstance(self._finder, MeshFaceFinder):
            seen = self._fit(self._finder, image)
        else:
            seen, everything = _assign(self._open, self._finder.find([image])[0])
            search = True
        lost = [
            track
            for track, face in zip(self._open, seen)
            if face is None or not track.continues_in(face) or track.unseen > 1
        ]
        lost += [track for track in _hiding(self._open, seen) if track not in lost]
        for track, face in zip(self._open, seen):
            if face is not None and track not in lost:
                track.add(time, image, face)
        self._open = [track for track in self._open if track not in lost]
        if search or lost:
            self._next_search = time + self._interval
            if isinstance(self._finder, MeshFaceFinder):
                everything = self._search(self._finder, image)
            self._begin(time, image, everything)
        return ended + lost

    def finish(self) -> list[OpenTrack]:
        """End all tracks and return them."""
        ended, self._open = self._open, []
        return ended

    def _begin(self, time: float, image: Image, faces: Sequence[FoundFace]) -> None:
        """Begin tracks of faces that are not followed and not hidden, the largest first."""
        for face in sorted(faces, key=lambda each: -_side(each.box)):
            if len(self._open) >= self._max_faces:
                return
            if self._open:
                followed = np.stack([track.boxes[-1] for track in self._open])
                if box_overlaps(face.box, followed).max() > SAME_FACE:
                    continue
            track = OpenTrack(self._shot, BestImages(self._max_images))
            track.add(time, image, face)
            self._open.append(track)

    def _fit(self, finder: MeshFaceFinder, image: Image) -> list[FoundFace | None]:
        """Fit the mesh where the tracks lead; None where there is no face any more."""
        if not self._open:
            return []
        boxes = np.stack([track.boxes[-1] + np.tile(track.lead, 2) for track in self._open])
        points = np.zeros((len(boxes), len(POINT_NAMES), 2), np.float32)
        for k, track in enumerate(self._open):
            points[k, RIGHT_EYE], points[k, LEFT_EYE] = track.points[-1][:2] + track.lead
        regions = FaceDetections(boxes, points, np.ones(len(boxes), np.float32))
        meshes = finder.mesh.fit([image], [regions])[0]
        return [
            _face_of_mesh(image, mesh, track.last.score, float(presence))
            if presence >= KEPT_PRESENCE
            else None
            for track, mesh, presence in zip(self._open, meshes.points, meshes.presence)
        ]

    def _search(self, finder: MeshFaceFinder, image: Image) -> list[FoundFace]:
        """Faces that the detector finds and that are not followed yet."""
        found = finder.detector.detect([image], min_score=finder.min_score)[0]
        if not len(found.boxes) and not self._open:
            return [_with_mesh_box(face) for face in finder.find([image])[0]]
        new = np.ones(len(found.boxes), bool)
        for track in self._open:
            overlaps = box_overlaps(track.boxes[-1], found.boxes)
            track.unseen = 0 if (overlaps > SAME_FACE).any() else track.unseen + 1
            if track.last.presence >= finder.min_presence:
                track.unseen = 0
            new &= overlaps <= SAME_FACE
        if not new.any():
            return []
        regions = FaceDetections(found.boxes[new], found.points[new], found.scores[new])
        meshes = finder.mesh.fit([image], [regions])[0]
        faces = [
            _face_of_mesh(image, mesh, float(score), float(presence))
            for mesh, presence, score in zip(meshes.points, meshes.presence, regions.scores)
            if presence >= finder.min_presence
        ]
        return [face for face in faces if face is not None]


def _assign(
    tracks: Sequence[OpenTrack], faces: Sequence[FoundFace]
) -> tuple[list[FoundFace | None], list[FoundFace]]:
    """Give each track the face that overlaps its foretold place most; return these and the other faces."""
    left = list(faces)
    given: list[FoundFace | None] = []
    for track in tracks:
        if not left:
            given.append(None)
            continue
        place = track.boxes[-1] + np.tile(track.lead, 2)
        overlaps = box_overlaps(place, np.stack([face.box for face in left]))
        best = int(overlaps.argmax())
        given.append(left.pop(best) if overlaps[best] > SAME_FACE else None)
    return given, left


def _hiding(tracks: Sequence[OpenTrack], faces: Sequence[FoundFace | None]) -> list[OpenTrack]:
    """Tracks whose faces overlap: one hides the other."""
    present = [(track, face.box) for track, face in zip(tracks, faces) if face is not None]
    if len(present) < 2:
        return []
    boxes = np.stack([box for _, box in present])
    hidden = []
    for k, (track, box) in enumerate(present):
        overlaps = box_overlaps(box, boxes)
        overlaps[k] = 0
        if overlaps.max() > MAX_OVERLAP:
            hidden.append(track)
    return hidden


def _face_of_mesh(image: Image, mesh: Array, score: float, presence: float) -> FoundFace | None:
    """Face of a fitted mesh; its box is that of the mesh. None if the mesh spans no face."""
    eyes = [mesh[list(corners), :2].mean(axis=0) for corners in EYES]
    points = np.stack([*eyes, mesh[NOSE_TIP, :2], *(mesh[corner, :2] for corner in MOUTH)])
    if np.hypot(*(eyes[1] - eyes[0])) < 1:
        return None
    quality = measure_quality(image, points.astype(np.float32), mesh)
    return FoundFace(_mesh_box(mesh), points.astype(np.float32), score, presence, quality, mesh)


def _with_mesh_box(face: FoundFace) -> FoundFace:
    return face if face.mesh is None else replace(face, box=_mesh_box(face.mesh))


def _mesh_box(mesh: Array) -> Array:
    """Box around a mesh, whose numbers are edges of pixels."""
    corners = np.concatenate([mesh[:, :2].min(axis=0), mesh[:, :2].max(axis=0)])
    return np.asarray(corners + 0.5, np.float32)


def _middle(box: Array) -> Array:
    return np.asarray((box[:2] + box[2:]) / 2, np.float32)


def _side(box: Array) -> float:
    return float((box[2:] - box[:2]).max())
