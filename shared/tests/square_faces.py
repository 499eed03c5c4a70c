"""A face finder of stand-ins that takes red squares for faces, and pictures of squares."""

import cv2
import numpy as np
from voiceface.faces import MeshFaceFinder
from voiceface.real.backends import Network
from voiceface.real.catalogue import MODELS
from voiceface.real.face_detector import FaceDetector, make_anchors
from voiceface.real.face_mesh import FaceMesh

RED, BLUE = (220, 20, 20), (20, 20, 220)
LANDMARKS = {  # of a level face in a square of side 1, x to the right
    **{33: (0.2, 0.3), 133: (0.4, 0.3), 362: (0.6, 0.3), 263: (0.8, 0.3), 1: (0.5, 0.5)},
    **{61: (0.35, 0.7), 291: (0.65, 0.7), 2: (0.5, 0.55), 10: (0.5, 0.0), 152: (0.5, 1.0)},
    **{234: (0.0, 0.4), 454: (1.0, 0.4)},
}


def squares(picture):
    """Boxes (left, top, width, height) of red and blue squares."""
    high = picture.astype(int)
    red = (high[..., 0] > 140) & (high[..., 1] < 90) & (high[..., 2] < 90)
    blue = (high[..., 2] > 140) & (high[..., 1] < 90) & (high[..., 0] < 90)
    return [
        tuple(stats[k, :4])
        for mask in (red, blue)
        for count, _, stats, _ in [cv2.connectedComponentsWithStats(mask.astype(np.uint8))]
        for k in range(1, count)
        if stats[k, 4] > 16
    ]


def detect(batch):
    """Squares that do not touch the edge of the input are proposed as faces."""
    boxes, scores = np.zeros((len(batch), 896, 16), np.float32), np.full((len(batch), 896), -9, np.float32)
    for k, picture in enumerate(batch.transpose(0, 2, 3, 1)):
        for left, top, width, height in squares(picture):
            if min(left, top) < 12 or max(left + width, top + height) > 244:
                continue
            centre = np.array([left + width / 2, top + height / 2], np.float32)
            anchor = int(np.abs(make_anchors() - centre).sum(1).argmin())
            boxes[k, anchor, :2], boxes[k, anchor, 2:4] = centre - make_anchors()[anchor], [width, height]
            eyes = np.array([[-0.2 * width, 0], [0.2 * width, 0]])
            boxes[k, anchor, 4:8] = (eyes + centre - make_anchors()[anchor]).ravel()
            scores[k, anchor] = 4
    return boxes, scores


def fit(batch):
    """Landmarks of the square in the crop; only red ones are faces."""
    points, presence = np.zeros((len(batch), 468, 3), np.float32), np.full(len(batch), -9, np.float32)
    for k, picture in enumerate(batch.transpose(0, 2, 3, 1)):
        for left, top, width, height in squares(picture)[:1]:
            for number, (x, y) in LANDMARKS.items():
                points[k, number, :2] = left - 0.5 + x * width, top - 0.5 + y * height
            presence[k] = 9 if picture[96, 96, 0] > 140 else 4
    return points, presence


def make_finder(**options):
    networks = {"face_detector": detect, "face_mesh": fit}
    detector, mesh = (Network(MODELS[name], run, "torch", "f") for name, run in networks.items())
    return MeshFaceFinder(FaceDetector(detector), FaceMesh(mesh), **options)


def make_picture(height, width, *faces):
    """Grey picture with squares: (left, top, side, colour)."""
    picture = np.full((height, width, 3), 128, np.uint8)
    for left, top, side, colour in faces:
        picture[top : top + side, left : left + side] = colour
    return picture
