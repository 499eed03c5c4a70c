"""Faces for tests of tracking that need no network: coloured discs with a black slit."""

import cv2
import numpy as np
from voiceface.faces.finding import FoundFace, MeshFaceFinder
from voiceface.faces.quality import measure_quality
from voiceface.real.face_detector import FaceDetections
from voiceface.real.face_mesh import FaceMeshes

COLOURS = {"red": (230, 40, 40), "green": (40, 210, 40), "blue": (50, 60, 235)}
GREY = (110, 110, 110)
KEY_POINTS = {  # by the radius, from the middle
    **{33: (-0.6, -0.3), 133: (-0.3, -0.3), 362: (0.3, -0.3), 263: (0.6, -0.3), 1: (0, 0.05), 2: (0, 0.15)},
    **{234: (-0.95, 0), 454: (0.95, 0), 10: (0, -0.95), 152: (0, 0.95), 61: (-0.3, 0.45), 291: (0.3, 0.45)},
    **{82: (-0.1, 0.45), 13: (0, 0.45), 312: (0.1, 0.45), 87: (-0.1, 0.45), 14: (0, 0.45), 317: (0.1, 0.45)},
    **{0: (0, 0.4), 17: (0, 0.5)},
}
LOWER_LIP = [87, 14, 317, 17]


def disc_picture(discs, size=(144, 256), background=GREY):
    """Picture of discs (colour name, x, y, radius, height of the slit), the later ones in front."""
    image = np.empty((*size, 3), np.uint8)
    image[:] = background
    for name, x, y, radius, slit in discs:
        cv2.circle(image, (round(x), round(y)), round(radius), COLOURS[name], -1)
        if slit:
            top = round(y + 0.45 * radius)
            image[top : top + round(slit), round(x) - 3 : round(x) + 4] = 0
    return image


def disc_mask(image, name):
    return np.abs(image.astype(int) - COLOURS[name]).max(axis=2) < 60


def disc_mesh(x, y, radius, slit):
    """Mesh of a disc, (468, 3)."""
    mesh = np.zeros((468, 3), np.float32)
    mesh[:, :2] = np.random.default_rng(0).uniform(-0.5, 0.5, (468, 2))
    for index, place in KEY_POINTS.items():
        mesh[index, :2] = place
    mesh *= radius
    mesh[LOWER_LIP, 1] += slit
    mesh[:, :2] += (x, y)
    return mesh


def measure_disc(image, name):
    """Middle, radius, slit and visible share of the disc of one colour; None if little of it is seen."""
    ys, xs = np.nonzero(disc_mask(image, name))
    if len(xs) < 40:
        return None
    left, right, top, bottom = xs.min(), xs.max(), ys.min(), ys.max()
    radius = max(right - left, bottom - top) / 2
    x, y = (left + right) / 2, (top + bottom) / 2
    column = image[round(y) : bottom + 1, round(x)]
    slit = int((column.max(axis=1) < 40).sum())
    return x, y, radius, slit, len(xs) / (np.pi * radius**2)


class DiscDetector:
    """Finds the discs; counts its runs."""

    def __init__(self):
        self.runs = 0

    def detect(self, images, *, min_score=0.5, max_overlap=0.3):
        self.runs += 1
        return [self._detect(image) for image in images]

    def _detect(self, image):
        found = [each for name in COLOURS if (each := measure_disc(image, name)) and each[4] > 0.75]
        boxes = [(x - r, y - r, x + r, y + r) for x, y, r, _, _ in found]
        points = np.zeros((len(found), 6, 2), np.float32)
        for k, (x, y, r, _, _) in enumerate(found):
            points[k, :2] = (x - 0.45 * r, y - 0.3 * r), (x + 0.45 * r, y - 0.3 * r)
        return FaceDetections(
            np.array(boxes, np.float32).reshape(-1, 4), points, np.full(len(found), 0.9, np.float32)
        )


class DiscMesh:
    """Fits a mesh to the disc that is nearest to the middle of a box; counts its fits."""

    def __init__(self):
        self.fits = 0

    def fit(self, images, faces):
        return [self._fit(image, of_image) for image, of_image in zip(images, faces)]

    def _fit(self, image, faces):
        self.fits += len(faces.boxes)
        meshes = [self._fit_one(image, box) for box in faces.boxes]
        points = np.array([mesh for mesh, _ in meshes], np.float32).reshape(-1, 468, 3)
        return FaceMeshes(points, np.array([presence for _, presence in meshes], np.float32))

    def _fit_one(self, image, box):
        x, y = (box[:2] + box[2:]) / 2
        side = float((box[2:] - box[:2]).max())
        near = [
            (np.hypot(each[0] - x, each[1] - y), each)
            for name in COLOURS
            if (each := measure_disc(image, name)) and np.hypot(each[0] - x, each[1] - y) < 0.75 * side
        ]
        if not near:
            return disc_mesh(x, y, side / 2, 0), 0.0
        _, (x, y, r, slit, share) = min(near)
        return disc_mesh(x, y, r, slit), 0.999 if share > 0.75 else 0.1


def disc_finder():
    """The finder of `voiceface.faces` with discs for faces."""
    return MeshFaceFinder(DiscDetector(), DiscMesh())


class PlainFinder:
    """A finder without a mesh; counts the pictures that it searched."""

    identity = "discs"

    def __init__(self):
        self.searched = 0

    def find(self, images):
        self.searched += len(images)
        return [self._find(image) for image in images]

    def _find(self, image):
        faces = []
        for name in COLOURS:
            found = measure_disc(image, name)
            if found and found[4] > 0.75:
                x, y, r, _, _ = found
                mesh = disc_mesh(x, y, r, 0)
                points = np.stack(
                    [mesh[[33, 133], :2].mean(0), mesh[[362, 263], :2].mean(0), *mesh[[1, 61, 291], :2]]
                )
                box = np.array([x - r, y - r, x + r, y + r], np.float32)
                quality = measure_quality(image, points, mesh)
                faces.append(FoundFace(box, points, 0.9, 1.0, quality))
        return sorted(faces, key=lambda face: -face.quality.eye_distance)
